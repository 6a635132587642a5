package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds what is read of a file.
const maxFile = 1 << 20

// readFile reads a regular file. Anything else is refused before it is opened: opening a FIFO would wait.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &fileError{path + " doesn't exist", err}
	case errors.Is(err, fs.ErrPermission):
		return nil, &fileError{path + " can't be read by this user", err}
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, &fileError{path + " can't be read by this user", err}
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than a MiB", path)
	}
	return text, err
}

// fileError is a fault of a file in plain words. It unwraps to the system's error without repeating its text.
type fileError struct {
	what  string
	cause error
}

func (e *fileError) Error() string { return e.what }
func (e *fileError) Unwrap() error { return e.cause }

func (p *Provider) profileName() string {
	if p.o.Profile != "" {
		return p.o.Profile
	}
	if name := p.env("AWS_PROFILE"); name != "" {
		return name
	}
	return "default"
}

// readProfile reads what the shared files say of the profile: the credentials file goes before the config file. none says why there is
// nothing. (https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html)
func (p *Provider) readProfile() (values map[string]string, none string, err error) {
	name := p.profileName()
	inConfig := "profile " + name
	if name == "default" {
		inConfig = name
	}
	values = map[string]string{}
	var notThere []string
	for _, f := range []struct{ env, usual, section string }{
		{"AWS_CONFIG_FILE", "config", inConfig}, {"AWS_SHARED_CREDENTIALS_FILE", "credentials", name},
	} {
		path := p.env(f.env)
		if path == "" {
			home := p.env("HOME")
			if home == "" {
				notThere = append(notThere, f.env+" and HOME are not set")
				continue
			}
			path = filepath.Join(home, ".aws", f.usual)
		}
		text, err := readFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			notThere = append(notThere, err.Error())
			continue
		case errors.Is(err, fs.ErrPermission) && p.o.Profile == "" && p.env(f.env) == "": // another user's home: nobody meant it for the agent
			notThere = append(notThere, err.Error())
			continue
		case err != nil:
			return nil, "", fault("the AWS profile "+quote(name)+" can't be read: "+err.Error(), "make the file readable for the agent")
		}
		if !section(string(text), f.section, values) {
			notThere = append(notThere, path+" doesn't have it")
		}
	}
	if len(values) == 0 {
		return values, strings.Join(notThere, ", "), nil
	}
	return values, "", nil
}

// section puts the settings of a section into values, and says whether it is there. Indented lines are settings of a setting.
func section(text, name string, values map[string]string) bool {
	found, in := false, false
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			head, _, _ := strings.Cut(line[1:], "]")
			in = strings.Join(strings.Fields(head), " ") == name
			found = found || in
		case in && !indented:
			if key, value, ok := strings.Cut(line, "="); ok {
				value, _, _ = strings.Cut(value, " #")
				values[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
			}
		}
	}
	return found
}

// profile gives the keys of a profile. The other things that a profile can hold are for people at a terminal, or can be written in the
// agent's own config; where they stand in place of keys, the error says what to do.
func (p *Provider) profile(context.Context, string) (Credentials, string, error) {
	values, none, err := p.readProfile()
	if err != nil || none != "" {
		return Credentials{}, none, err
	}
	name := quote(p.profileName())
	c := Credentials{
		AccessKey: values["aws_access_key_id"], SecretKey: values["aws_secret_access_key"], SessionToken: values["aws_session_token"],
		Source: "profile " + name,
	}
	if c.AccessKey != "" && c.SecretKey != "" {
		return c, "", check(c)
	}
	for _, other := range []struct{ key, remedy string }{
		{"role_arn", fmt.Sprintf("write role_arn into the sigv4 block, with profile = %s", quote(or(values["source_profile"], "the profile with the keys")))},
		{"credential_process", "the agent starts no programs: give it a role, or write keys into the profile"},
		{"sso_session", "a session that a person opened ends: give the agent a role or keys"},
		{"sso_start_url", "a session that a person opened ends: give the agent a role or keys"},
		{"login_session", "a session that a person opened ends: give the agent a role or keys"},
		{"web_identity_token_file", "set AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN in the environment"},
	} {
		if values[other.key] != "" {
			return Credentials{}, "", fault("the AWS profile "+name+" holds "+other.key+" and no keys", other.remedy)
		}
	}
	if c.AccessKey != "" || c.SecretKey != "" {
		return Credentials{}, "", fault("the AWS profile "+name+" holds one half of a key", "write aws_access_key_id and aws_secret_access_key")
	}
	return Credentials{}, "it holds no keys", nil
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
