package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// maxFormat is the largest file that is read for formatting.
const maxFormat = 16 << 20

func (a *app) fmtCommand() *cobra.Command {
	var write, check bool
	c := &cobra.Command{
		Use:   "fmt FILE|DIR|-",
		Short: "Lay out a config in the usual way",
		Long: "Fmt aligns and indents a config file, or all *.hcl files of a folder; comments and order stay as they are. It prints the result;\n" +
			"-w writes it to the file instead, and --check lists the files that are not laid out so and exits with 1 when there is one.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeConfig,
		RunE: a.does(func(_ *cobra.Command, args []string) error {
			if write && check {
				return usage("-w and --check exclude each other")
			}
			files, err := formatFiles(args[0])
			if err != nil {
				return err
			}
			differ := false
			for _, name := range files {
				d, err := a.format(name, write, check)
				if err != nil {
					return err
				}
				differ = differ || d
			}
			if check && differ {
				return &exit{code: exitFailed}
			}
			return nil
		}),
	}
	c.Flags().BoolVarP(&write, "write", "w", false, "write the result to the file")
	c.Flags().BoolVarP(&check, "check", "c", false, "list the files that would change")
	return c
}

func formatFiles(path string) ([]string, error) {
	if path == "-" {
		return []string{"-"}, nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return []string{path}, nil
	}
	files, err := filepath.Glob(filepath.Join(globQuote(path), "*.hcl"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no *.hcl file", path)
	}
	slices.Sort(files)
	return files, nil
}

// globQuote makes a path mean itself in a glob pattern.
func globQuote(path string) string {
	var b []byte
	for i := range len(path) {
		if bytes.IndexByte([]byte(`*?[\`), path[i]) >= 0 {
			b = append(b, '\\')
		}
		b = append(b, path[i])
	}
	return string(b)
}

// format does one file and says whether its layout differed.
func (a *app) format(name string, write, check bool) (bool, error) {
	src, err := a.readConfig(name)
	if err != nil {
		return false, err
	}
	shown := name
	if name == "-" {
		shown = "<stdin>"
	}
	out, diags := config.Format(shown, src)
	if diags.HasErrors() {
		a.tell(diags, nil)
		return false, usage("%s is not laid out anew because it can't be read as a config", shown)
	}
	differs := !bytes.Equal(src, out)
	switch {
	case check:
		if differs {
			fmt.Fprintln(a.stdout, shown)
		}
	case write && name != "-":
		if differs {
			return differs, replaceFile(name, out)
		}
	default:
		if _, err := a.stdout.Write(out); err != nil {
			return differs, err
		}
	}
	return differs, nil
}

func (a *app) readConfig(name string) ([]byte, error) {
	r := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if st, err := f.Stat(); err != nil {
			return nil, err
		} else if !st.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		r = f
	}
	src, err := io.ReadAll(io.LimitReader(r, maxFormat+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(src) > maxFormat {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFormat>>20)
	}
	return src, nil
}

// replaceFile writes beside the file and renames, so that a full disk costs nothing. A link goes on pointing where it did, and mode and
// owner stay, the owner where we may.
func replaceFile(name string, content []byte) error {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".hermod-fmt-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(st.Mode().Perm()), f.Sync(), f.Close())
	if err == nil {
		keepOwner(f.Name(), st)
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
