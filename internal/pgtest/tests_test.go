package pgtest

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

func TestEachDSNIsAFreshDatabase(t *testing.T) {
	a, b := open(t, DSN(t)), open(t, KeywordDSN(t))
	do(t, a, "CREATE TABLE t (i int)")
	do(t, b, "CREATE TABLE t (i int)")
}

func TestParallelTestsShareTheServer(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			do(t, open(t, DSN(t)), "CREATE TABLE t (i int)")
		})
	}
}

func TestADatabaseGoesWithItsTest(t *testing.T) {
	s := Shared(t)
	var name string
	t.Run("uses one", func(t *testing.T) {
		db := open(t, DSN(t))
		name = ask(t, db, "SELECT current_database()::text")
		conn, err := db.Conn(deadline(t)) // and never gives it back
		must(t, err)
		must(t, conn.PingContext(deadline(t)))
	})
	if got, err := s.query("SELECT count(*)::text FROM pg_database WHERE datname = '" + name + "'"); got != "0" || err != nil {
		t.Errorf("database %s: %s, %v", name, got, err)
	}
}

func TestNewDatabaseRefusesANameThatIsTaken(t *testing.T) {
	s := Shared(t)
	name := databaseName(t.Name())
	dsn, err := s.NewDatabase(name)
	must(t, err)
	defer s.DropDatabase(name)
	must(t, open(t, dsn).Ping())
	if _, err := s.NewDatabase(name); err == nil {
		t.Error("no error")
	}
}

func TestDatabaseNamesFitAndDiffer(t *testing.T) {
	long := databaseName("Test/" + strings.Repeat("Ä very long name ", 10))
	if len(long) > 63 || long == databaseName("Test/"+strings.Repeat("Ä very long name ", 10)) {
		t.Errorf("name %s", long)
	}
}

// fakeTB notes how a test was ended.
type fakeTB struct {
	TB
	end string
}

func (f *fakeTB) Helper() {}
func (f *fakeTB) Skipf(format string, args ...any) {
	f.end = "skipped: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (f *fakeTB) Fatalf(format string, args ...any) {
	f.end = "failed: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func ending(test func(TB)) string {
	f := new(fakeTB)
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	return f.end
}

func TestWithoutPostgreSQLATestIsSkippedAndInCIFails(t *testing.T) {
	_, missing := func() (string, error) {
		t.Setenv("PATH", "")
		return find(nil)
	}()
	for _, c := range []struct {
		ci   string
		err  error
		want string
	}{
		{"", missing, "skipped: pgtest: no PostgreSQL server found"},
		{"false", missing, "skipped: "},
		{"true", missing, "failed: pgtest: no PostgreSQL server found"},
		{"", errors.New("initdb: disk full"), "failed: initdb: disk full"},
	} {
		t.Setenv("CI", c.ci)
		if got := ending(func(t TB) { refuse(t, c.err) }); !strings.HasPrefix(got, c.want) {
			t.Errorf("CI=%s, %v: %s", c.ci, c.err, got)
		}
	}
}

func TestAnExternalServerServesAndKeepsItsProcess(t *testing.T) {
	own := Shared(t)
	s, err := use(own.KeywordDSN())
	must(t, err)
	name := databaseName(t.Name())
	dsn, err := s.NewDatabase(name)
	must(t, err)
	defer s.DropDatabase(name)
	must(t, open(t, dsn).Ping())
	for what, got := range map[string]error{
		"Stop": s.Stop(Fast), "Start": s.Start(), "Restart": s.Restart(Fast), "Kill": s.Kill(), "Promote": s.Promote(),
	} {
		if !errors.Is(got, ErrExternal) {
			t.Errorf("%s: %v", what, got)
		}
	}
	must(t, s.Close())
	must(t, open(t, s.DSN()).Ping())

	t.Setenv(EnvServer, own.DSN())
	if got := ending(func(t TB) { New(t, Options{}) }); !strings.HasPrefix(got, "skipped: ") {
		t.Errorf("a test that wants a server of its own: %s", got)
	}
}

func TestAnExternalServerThatIsDownFails(t *testing.T) {
	port, err := freePort()
	must(t, err)
	if _, err := use(fmt.Sprintf("host=127.0.0.1 port=%d", port)); err == nil {
		t.Error("no error")
	}
}
