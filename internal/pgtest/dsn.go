package pgtest

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// A DSNOption changes one thing in a DSN.
type DSNOption func(*address)

// Database names the database.
func Database(name string) DSNOption { return func(a *address) { a.database = name } }

// User names the role. A role without a password can log in on the socket only.
func User(name, password string) DSNOption {
	return func(a *address) { a.user, a.password = name, password }
}

// Via leads the client to another address: host:port, a proxy's say, or the path of a unix socket, as Server.Socket
// gives it.
func Via(addr string) DSNOption {
	return func(a *address) {
		if dir, file := filepath.Split(addr); strings.HasPrefix(file, socketPrefix) {
			a.host, a.port = filepath.Clean(dir), strings.TrimPrefix(file, socketPrefix)
		} else if host, port, err := net.SplitHostPort(addr); err == nil {
			a.host, a.port = host, port
		} else {
			panic("pgtest: Via: " + err.Error())
		}
	}
}

// Param sets a parameter, such as statement_timeout or groupcommit_maxlen.
func Param(key, value string) DSNOption { return func(a *address) { a.params[key] = value } }

// DSN is the server's address as a URL: postgres://postgres:…@127.0.0.1:port/postgres?sslmode=disable, changed by the
// options.
func (s *Server) DSN(opts ...DSNOption) string { return s.address.with(opts).url() }

// KeywordDSN is DSN in the form key=value key=value.
func (s *Server) KeywordDSN(opts ...DSNOption) string { return s.address.with(opts).keywords() }

// With returns the DSN changed by the options, in its own form, URL or keywords. It panics if it cannot read the DSN.
func With(dsn string, opts ...DSNOption) string {
	a, err := parseAddress(dsn)
	if err != nil {
		panic(err)
	}
	if isURL(dsn) {
		return a.with(opts).url()
	}
	return a.with(opts).keywords()
}

const socketPrefix = ".s.PGSQL."

// address is a DSN taken apart. An empty field is not in the DSN.
type address struct {
	host, port, user, password, database string // host may be a socket's folder
	params                               map[string]string
}

func (a address) with(opts []DSNOption) address {
	if a.params = maps.Clone(a.params); a.params == nil {
		a.params = map[string]string{}
	}
	for _, opt := range opts {
		opt(&a)
	}
	return a
}

// dial is the address for net.Dial, with libpq's defaults.
func (a address) dial() string {
	host, port := a.host, a.port
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "5432"
	}
	if filepath.IsAbs(host) {
		return filepath.Join(host, socketPrefix+port)
	}
	return net.JoinHostPort(host, port)
}

func (a address) url() string {
	u := url.URL{Scheme: "postgres", Path: "/" + a.database}
	switch {
	case a.password != "":
		u.User = url.UserPassword(a.user, a.password)
	case a.user != "":
		u.User = url.User(a.user)
	}
	query := url.Values{}
	for key, value := range a.params {
		query.Set(key, value)
	}
	switch {
	case filepath.IsAbs(a.host):
		query.Set("host", a.host)
		if a.port != "" {
			query.Set("port", a.port)
		}
	case a.port != "":
		u.Host = net.JoinHostPort(a.host, a.port)
	default:
		u.Host = a.host
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // libpq and pgx read a + as itself
	return u.String()
}

func (a address) keywords() string {
	var words []string
	add := func(key, value string) {
		if value == "" || strings.ContainsAny(value, ` '\`) {
			value = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
		}
		words = append(words, key+"="+value)
	}
	for _, field := range a.fields() {
		if *field.value != "" {
			add(field.key, *field.value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a.params)) {
		add(key, a.params[key])
	}
	return strings.Join(words, " ")
}

type field struct {
	key   string
	value *string
}

func (a *address) fields() []field {
	return []field{{"host", &a.host}, {"port", &a.port}, {"user", &a.user}, {"password", &a.password},
		{"dbname", &a.database}}
}

func (a *address) set(key, value string) {
	for _, field := range a.fields() {
		if field.key == key {
			*field.value = value
			return
		}
	}
	a.params[key] = value
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// parseAddress reads a DSN of either form that names at most one host.
func parseAddress(dsn string) (address, error) {
	a := address{params: map[string]string{}}
	if !isURL(dsn) {
		err := a.parseKeywords(dsn)
		return a, err
	}
	u, err := url.Parse(dsn)
	if err != nil || strings.Contains(u.Host, ",") {
		// The error of the url package would show the password.
		return a, errors.New("pgtest: the DSN is no URL with one host")
	}
	a.host, a.port, a.database = u.Hostname(), u.Port(), strings.TrimPrefix(u.Path, "/")
	a.user = u.User.Username()
	a.password, _ = u.User.Password()
	for key, values := range u.Query() {
		a.set(key, values[len(values)-1])
	}
	return a, nil
}

// parseKeywords follows libpq: key = value, where a value in single quotes may hold spaces, and a backslash takes the
// next character as it is.
func (a *address) parseKeywords(dsn string) error {
	rest := strings.TrimSpace(dsn)
	for rest != "" {
		key, after, ok := strings.Cut(rest, "=")
		if key = strings.TrimSpace(key); !ok || key == "" || strings.ContainsAny(key, " '\\") {
			return fmt.Errorf("pgtest: the DSN has no = after %q", strings.Fields(rest)[0])
		}
		rest = strings.TrimLeft(after, " \t\n")
		quoted := strings.HasPrefix(rest, "'")
		if quoted {
			rest = rest[1:]
		}
		var value strings.Builder
		end := -1
		for i := 0; i < len(rest); i++ {
			c := rest[i]
			if quoted && c == '\'' || !quoted && strings.IndexByte(" \t\n", c) >= 0 {
				end = i
				break
			}
			if c == '\\' && i+1 < len(rest) {
				i++
				c = rest[i]
			}
			value.WriteByte(c)
		}
		switch {
		case end >= 0:
			rest = strings.TrimSpace(rest[end+1:])
		case quoted:
			return fmt.Errorf("pgtest: the DSN's value of %s has no closing quote", key)
		default:
			rest = ""
		}
		a.set(key, value.String())
	}
	return nil
}
