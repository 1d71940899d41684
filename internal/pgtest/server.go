package pgtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// ErrExternal is the error of the methods that need the server's process, if GROUPCOMMIT_TEST_PG named the server.
var ErrExternal = errors.New("pgtest: the server is not ours: " + EnvServer + " names it")

// Options says how a server is started. The zero value is a good server.
type Options struct {
	Bin            string            // the folder of PostgreSQL's programs; "" means Find
	Dir            string            // where the server's own folder is made; "" means a temporary folder
	MaxConnections int               // max_connections; 0 or less means 300
	Settings       map[string]string // more of postgresql.conf, stronger than every default of this package
}

// A Server is one PostgreSQL server: a throwaway one, from Start, StartStandby or New, or an external one, from Shared,
// whose process methods return ErrExternal. Its methods may be called by several goroutines.
//
// Everything of a throwaway server is in one folder: data/, the log, the socket. The server's user owns the folder.
type Server struct {
	bin      string
	dir      string // "" for an external server
	account  *account
	address  address // how clients reach it
	watchdog *watchdog

	mu   sync.Mutex  // held while the process is started or stopped
	proc *postmaster // nil when the server is not running; guarded by mu
}

// Start makes a new cluster and starts a server on it. It takes a second or two; Close gives everything back.
func Start(o Options) (*Server, error) {
	return start(o, freePort)
}

func start(o Options, port func() (int, error)) (*Server, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := inTurn(s.initdb, func() error { return s.configure(o) }, func() error { return s.startOn(port) }); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// inTurn does the steps up to the first that fails.
func inTurn(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the folder and sets the watchdog over it; from here on, Close removes everything.
func prepare(o Options) (*Server, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	bin := o.Bin
	if bin == "" {
		if bin, err = Find(); err != nil {
			return nil, err
		}
	}
	dir, err := makeFolder(o.Dir, account)
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, account: account}
	if s.watchdog, err = startWatchdog(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.address = address{host: loopback, user: "postgres", password: rand.Text(), database: "postgres",
		params: map[string]string{"sslmode": "disable"}}
	return s, nil
}

// maxFolder leaves room for /.s.PGSQL.65535 in a unix socket's address, 103 bytes where it is shortest (macOS).
const maxFolder = 103 - len("/.s.PGSQL.65535")

// makeFolder makes the server's folder in the first place that is short enough for a socket's path and that the
// server's user can reach.
func makeFolder(parent string, a *account) (string, error) {
	parents := []string{parent}
	if parent == "" {
		parents = []string{os.TempDir(), "/tmp", "/var/tmp"}
	}
	var errs []error
	for _, parent := range parents {
		dir, err := os.MkdirTemp(parent, "pgtest")
		if err == nil {
			dir, err = filepath.Abs(dir)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(dir) > maxFolder {
			err = fmt.Errorf("pgtest: %s is too long for a unix socket in it: more than %d bytes", dir, maxFolder)
		} else {
			err = a.own(dir)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err, os.Remove(dir))
	}
	return "", errors.Join(errs...)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// initdb makes the cluster. Its files need no fsync: the server that comes after syncs its own writes.
func (s *Server) initdb() error {
	password := filepath.Join(s.dir, "password")
	kept, err := secret(s.address.password)
	if err != nil {
		return err
	}
	if err := os.WriteFile(password, []byte(kept+"\n"), 0o600); err != nil {
		return err
	}
	if err := s.account.own(password); err != nil {
		return err
	}
	return s.run("initdb", "--pgdata="+s.data(), "--username="+s.address.user, "--pwfile="+password,
		"--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
}

// configure appends to postgresql.conf, where the last line for a setting wins, and ALTER SYSTEM wins over it.
func (s *Server) configure(o Options) error {
	limit := 300
	if o.MaxConnections > 0 {
		limit = o.MaxConnections
	}
	var b strings.Builder
	set := func(name, value string) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	b.WriteString("\n# pgtest\n")
	set("listen_addresses", loopback)
	set("unix_socket_directories", s.dir)
	set("fsync", "on")
	set("synchronous_commit", "on")
	set("max_connections", strconv.Itoa(limit))
	set("log_line_prefix", "%m [%p] %q%u@%d ")
	for name, value := range o.Settings {
		set(name, value)
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	return errors.Join(err, f.Close())
}

// External reports whether the server is one that GROUPCOMMIT_TEST_PG names, whose process is not ours.
func (s *Server) External() bool { return s.dir == "" }

// Addr is where the server listens, host:port: the target for a proxy.
func (s *Server) Addr() string { return s.address.dial() }

// Socket is the path of the unix socket on which the server listens too, "" for an external server; see Via.
func (s *Server) Socket() string {
	if s.External() {
		return ""
	}
	return filepath.Join(s.dir, socketPrefix+s.address.port)
}

// Log returns the last lines of the server's log, at most 16 KB, for the message of a test that failed.
func (s *Server) Log() string {
	if s.External() {
		return ""
	}
	const most = 16 << 10
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}

// Close stops the server, if it runs, as immediately as it can, and removes its folder. Clients that are connected
// lose their connection. It may be called again.
func (s *Server) Close() error {
	if s.External() {
		return nil
	}
	if err := s.Stop(Immediate); err != nil {
		if err := s.Kill(); err != nil {
			return err
		}
	}
	return errors.Join(s.watchdog.dismiss(), os.RemoveAll(s.dir))
}
