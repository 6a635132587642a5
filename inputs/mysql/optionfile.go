package mysql

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/hermod-agent/hermod/internal/access"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// maxOptionFile bounds what is read of an option file.
const maxOptionFile = 1 << 20

// readOptions reads a section of an option file (https://dev.mysql.com/doc/refman/8.4/en/option-files.html). Errors never hold a value.
func readOptions(path, section string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, component.WithRemedy(fmt.Errorf("my_cnf: %s is not a regular file", path), "name an option file such as /root/.my.cnf")
	}
	var file *os.File
	if err == nil {
		file, err = os.Open(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, component.WithRemedy(fmt.Errorf("my_cnf: there is no %s", path), "check the path; where the agent runs in a container, mount the file into it")
	case errors.Is(err, fs.ErrPermission):
		what, remedy := access.Denied(path, access.Read)
		return nil, component.WithRemedy(fmt.Errorf("my_cnf: %s", what), remedy)
	case err != nil:
		return nil, fmt.Errorf("my_cnf: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxOptionFile))
	if err != nil {
		return nil, fmt.Errorf("my_cnf: %w", err)
	}
	options, found := parseOptions(data, section)
	if !found {
		return nil, component.WithRemedy(fmt.Errorf("my_cnf: %s has no section [%s]", path, section), "write the section, or name another one with my_cnf_section")
	}
	return options, nil
}

// parseOptions takes the options of a section, under their names with dashes. An option without a value has "". A value is everything behind
// the equals sign, with a # in it, as mysqld_exporter reads it; quotes around all of it are taken off.
func parseOptions(data []byte, section string) (options map[string]string, found bool) {
	options = map[string]string{}
	inside := false
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxOptionFile)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "", line[0] == '#', line[0] == ';', line[0] == '!': // an empty line, a comment, an !include
			continue
		case line[0] == '[':
			name, _, _ := strings.Cut(line[1:], "]")
			inside = strings.TrimSpace(name) == section
			found = found || inside
			continue
		case !inside:
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		name = strings.ReplaceAll(strings.TrimSpace(name), "_", "-")
		options[name] = unquote(strings.TrimSpace(value))
	}
	return options, found
}

func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}
