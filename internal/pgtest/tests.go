package pgtest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// EnvServer is the environment variable that names a server to use instead of a throwaway one.
const EnvServer = "GROUPCOMMIT_TEST_PG"

// TB is the part of testing.TB that this package needs. The testing package itself has no place in a benchmark program.
type TB interface {
	Helper()
	Name() string
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// unsynced is how the shared server is started: no test takes its power away, and what it has written survives the death of
// its processes without a sync. Tests run beside each other, and some have hundreds of callers, each with a connection.
var unsynced = Options{MaxConnections: 1000, Settings: map[string]string{"fsync": "off", "full_page_writes": "off"}}

// shared is the test binary's one server.
var shared = struct {
	options Options // written before the first test
	once    sync.Once
	server  *Server // written once, in once
	pool    pool    // of the server, if it is a throwaway one
	err     error
}{options: unsynced}

// Run runs a test binary's tests and stops the shared server after them:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
//
// Without it the server is stopped too, by its watchdog, but only once the process has ended. The options are the shared
// server's; without them it is one that does not sync.
func Run(m interface{ Run() int }, o ...Options) int {
	for _, o := range o {
		shared.options = o
	}
	code := m.Run()
	shared.once.Do(func() { shared.err = errors.New("pgtest: the tests have ended") })
	if shared.server != nil {
		if err := shared.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// Shared returns the server that all tests of the binary share: the one that GROUPCOMMIT_TEST_PG names, or a throwaway
// one. Where there is none, the test is skipped, or fails with CI=true. A test may not stop it: see New.
func Shared(t TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		if dsn := os.Getenv(EnvServer); dsn != "" {
			shared.server, shared.err = use(dsn)
		} else {
			o := removable(shared.options)
			if o.Dir == "" && o.Settings["fsync"] == "off" {
				o.Dir = memory()
			}
			shared.server, shared.err = Start(o)
		}
		shared.pool.server = shared.server
	})
	if shared.err != nil {
		refuse(t, shared.err)
	}
	return shared.server
}

// use takes a server that this process has not started.
func use(dsn string) (*Server, error) {
	a, err := parseAddress(dsn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", EnvServer, err)
	}
	s := &Server{address: a}
	if _, err := s.query("SELECT version()"); err != nil {
		return nil, fmt.Errorf("%s: %w", EnvServer, err)
	}
	return s, nil
}

// refuse ends a test that has no server.
func refuse(t TB, err error) {
	t.Helper()
	if ci, _ := strconv.ParseBool(os.Getenv("CI")); !ci && errors.Is(err, ErrNotInstalled) {
		t.Skipf("%v", err)
	}
	t.Fatalf("%v", err)
}

// DSN returns the URL of an empty database on the shared server, which is this test's. When the test ends, so do the
// connections that are still open to it, and the URL leads nowhere.
func DSN(t TB, opts ...DSNOption) string {
	t.Helper()
	s, name := freshDatabase(t)
	return s.DSN(append([]DSNOption{Database(name)}, opts...)...)
}

// KeywordDSN is DSN in the form key=value key=value.
func KeywordDSN(t TB, opts ...DSNOption) string {
	t.Helper()
	s, name := freshDatabase(t)
	return s.KeywordDSN(append([]DSNOption{Database(name)}, opts...)...)
}

func freshDatabase(t TB) (*Server, string) {
	t.Helper()
	s := Shared(t)
	name := databaseName(t.Name())
	take, give := shared.pool.take, shared.pool.give
	if s.External() { // which must be left as it was found
		take = func(name string) error { _, err := s.NewDatabase(name); return err }
		give = s.DropDatabase
	}
	if err := take(name); err != nil {
		t.Fatalf("%v\n%s", err, s.Log())
	}
	t.Cleanup(func() {
		if err := give(name); err != nil {
			t.Logf("%v", err)
		}
	})
	return s, name
}

var (
	databases atomic.Int64
	noLetter  = regexp.MustCompile(`[^a-z0-9]+`)
)

// databaseName is a readable name that no other test has, nor a test binary that uses the same server. PostgreSQL cuts
// names off at 63 bytes.
func databaseName(test string) string {
	test = noLetter.ReplaceAllString(strings.ToLower(test), "_")
	return fmt.Sprintf("%.32s_%d_%x_%d", test, os.Getpid(), time.Now().UnixMicro()&0xffffff, databases.Add(1))
}

// removable has a server keep shared memory in its folder. A test may kill it, and what it has elsewhere would then stay.
func removable(o Options) Options {
	settings := map[string]string{"dynamic_shared_memory_type": "mmap"}
	maps.Copy(settings, o.Settings)
	o.Settings = settings
	return o
}

// New starts a server for one test, which may stop it, kill it and configure it, and closes it when the test ends; if
// the test failed, it shows the server's log. With GROUPCOMMIT_TEST_PG set the test is skipped, also in CI: the user who
// sets it chose so. Where there is no PostgreSQL, the test is skipped, or fails with CI=true.
func New(t TB, o Options) *Server {
	t.Helper()
	if os.Getenv(EnvServer) != "" {
		t.Skipf("%v", ErrExternal)
	}
	s, err := Start(removable(o))
	if err != nil {
		refuse(t, err)
	}
	t.Cleanup(func() { end(t, s) })
	return s
}

// NewStandby is StartStandby for one test.
func NewStandby(t TB, primary *Server, o Options) *Server {
	t.Helper()
	s, err := StartStandby(primary, removable(o))
	if err != nil {
		refuse(t, err)
	}
	t.Cleanup(func() { end(t, s) })
	return s
}

func end(t TB, s *Server) {
	t.Helper()
	if t.Failed() {
		t.Logf("the log of the server at %s ends:\n%s", s.Addr(), s.Log())
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%v", err)
	}
}
