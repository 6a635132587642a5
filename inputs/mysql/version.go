package mysql

import (
	"fmt"
	"strconv"
	"strings"
)

// version is what a server says of itself. The zero value is a server that hasn't said anything.
type version struct {
	text                string // @@version: 8.0.36-28.1, 10.11.6-MariaDB-0+deb12u1
	mariadb             bool
	major, minor, patch int
}

// parseVersion reads @@version, or the version of the handshake, in which MariaDB puts 5.5.5- in front for the sake of old replicas.
func parseVersion(s string) (version, error) {
	v := version{text: s, mariadb: strings.Contains(strings.ToLower(s), "mariadb")}
	numbers := s
	if v.mariadb {
		numbers = strings.TrimPrefix(numbers, "5.5.5-")
	}
	end := strings.IndexFunc(numbers, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(numbers)
	}
	parts := strings.Split(numbers[:end], ".")
	for i, into := range []*int{&v.major, &v.minor, &v.patch} {
		if i >= len(parts) {
			return version{text: s}, fmt.Errorf("the server's version %q is not of the form 1.2.3", s)
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return version{text: s}, fmt.Errorf("the server's version %q is not of the form 1.2.3", s)
		}
		*into = n
	}
	return v, nil
}

// since says whether the version is at least this one. A server of the other kind has versions of its own: ask mariadb first.
func (v version) since(major, minor, patch int) bool {
	switch {
	case v.major != major:
		return v.major > major
	case v.minor != minor:
		return v.minor > minor
	}
	return v.patch >= patch
}

// mysqlSince says whether it is MySQL, or Percona's, of at least this version.
func (v version) mysqlSince(major, minor, patch int) bool {
	return !v.mariadb && v.since(major, minor, patch)
}

// mariadbSince says whether it is MariaDB of at least this version.
func (v version) mariadbSince(major, minor, patch int) bool {
	return v.mariadb && v.since(major, minor, patch)
}

// known says whether the server has told its version.
func (v version) known() bool { return v.text != "" }

// String is the product with its version for people.
func (v version) String() string {
	switch {
	case !v.known():
		return "MySQL or MariaDB of an unknown version"
	case v.mariadb:
		return fmt.Sprintf("MariaDB %d.%d.%d", v.major, v.minor, v.patch)
	}
	return fmt.Sprintf("MySQL %d.%d.%d", v.major, v.minor, v.patch)
}
