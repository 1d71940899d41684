package pgtest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// usual is a server with no options, which all tests may stop and leave running.
func usual(t *testing.T) *Server {
	t.Helper()
	if os.Getenv(EnvServer) != "" {
		t.Skip(ErrExternal)
	}
	usualServer.once.Do(func() { usualServer.server, usualServer.err = Start(removable(Options{})) })
	s, err := usualServer.server, usualServer.err
	if err != nil {
		refuse(t, err)
	}
	must(t, s.Start())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log ends:\n%s", s.Log())
		}
	})
	return s
}

// usualServer is started by the first test that wants it, and closed by TestMain.
var usualServer struct {
	once   sync.Once
	server *Server // nil where no test wanted it; written in once
	err    error
}

// closes closes a server and looks for what is left of it. Those of this package's tests run, are stopped or are killed
// by then.
func closes(t *testing.T, s *Server) {
	t.Helper()
	must(t, s.Close())
	leavesNothing(t, s.dir)
	must(t, s.Close())
}

// own is the shared server, if it is a throwaway one.
func own(t *testing.T) *Server {
	t.Helper()
	s := Shared(t)
	if s.External() {
		t.Skip(ErrExternal)
	}
	return s
}

func TestServerIsAsDurableAsARealOne(t *testing.T) {
	settings(t, usual(t), map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "300",
		"server_encoding": "UTF8",
	})
}

func TestOnlyTheSharedServerDoesNotSync(t *testing.T) {
	settings(t, own(t), map[string]string{"fsync": "off", "synchronous_commit": "on", "max_connections": "1000", "dynamic_shared_memory_type": "mmap"})
}

func TestTheSharedServerIsInMemoryWhereThereIsRoom(t *testing.T) {
	s := own(t)
	if dir := memory(); dir != "" && filepath.Dir(s.dir) != dir {
		t.Errorf("it is in %s and not in %s", s.dir, dir)
	}
}

func settings(t *testing.T, s *Server, all map[string]string) {
	t.Helper()
	db := open(t, s.DSN())
	for name, want := range all {
		if got := ask(t, db, "SELECT current_setting('"+name+"')"); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
}

func TestSettingsAreTheCallersAndAStoppedServerLeavesNothing(t *testing.T) {
	s := New(t, Options{MaxConnections: 20, Settings: map[string]string{
		"fsync": "off", "application_name": "it's me", "shared_buffers": "16MB"}})
	db := open(t, s.DSN(Param("application_name", "")))
	for name, want := range map[string]string{"fsync": "off", "max_connections": "20", "shared_buffers": "16MB"} {
		if got := ask(t, db, "SELECT current_setting('"+name+"')"); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	if got := ask(t, db, "SELECT reset_val FROM pg_settings WHERE name = 'max_connections'"); got != "20" {
		t.Errorf("max_connections = %s", got)
	}
	if b, err := os.ReadFile(filepath.Join(s.data(), "postgresql.conf")); err != nil || !strings.Contains(string(b), "'it''s me'") {
		t.Errorf("a quote is not doubled in postgresql.conf (%v)", err)
	}
	must(t, s.Stop(Fast))
	closes(t, s)
}

func TestAllFourWaysIn(t *testing.T) {
	s := own(t)
	for name, dsn := range map[string]string{
		"URL, TCP": s.DSN(), "URL, socket": s.DSN(Via(s.Socket())),
		"keywords, TCP": s.KeywordDSN(), "keywords, socket": s.KeywordDSN(Via(s.Socket())),
	} {
		t.Run(name, func(t *testing.T) {
			if got := ask(t, open(t, dsn), "SELECT current_user::text"); got != "postgres" {
				t.Errorf("user %s", got)
			}
		})
	}
}

func TestTCPWantsThePassword(t *testing.T) {
	s := own(t)
	if err := open(t, s.DSN(User("postgres", "wrong"))).PingContext(deadline(t)); err == nil {
		t.Error("a wrong password is accepted")
	}
}

func TestStopAndStartKeepWhatWasCommitted(t *testing.T) {
	s := usual(t)
	db := open(t, s.DSN())
	do(t, db, "CREATE TABLE t (how text)")
	const recovery = "automatic recovery in progress"
	before := strings.Count(s.Log(), recovery)
	for how, stop := range map[string]func() error{
		"smart":     func() error { db.SetMaxIdleConns(0); return s.Stop(Smart) },
		"fast":      func() error { return s.Stop(Fast) },
		"immediate": func() error { return s.Stop(Immediate) },
		"kill":      s.Kill,
	} {
		do(t, db, "INSERT INTO t VALUES ('"+how+"')")
		must(t, stop())
		if s.Running() {
			t.Errorf("%s: still running", how)
		}
		if err := db.PingContext(deadline(t)); err == nil {
			t.Errorf("%s: the server still answers", how)
		}
		must(t, stop())
		must(t, s.Start())
		if got := ask(t, db, "SELECT count(*)::text FROM t WHERE how = '"+how+"'"); got != "1" {
			t.Errorf("%s: the row is there %s times", how, got)
		}
	}
	do(t, db, "DROP TABLE t")
	if log := s.Log(); strings.Count(log, recovery) != before+2 {
		t.Errorf("not two recoveries more than the %d before in the log:\n%s", before, log)
	}
}

func TestRestartUnderOpenTransactions(t *testing.T) {
	s := usual(t)
	db := open(t, s.DSN())
	do(t, db, "CREATE TABLE t (i int)")
	for _, mode := range []Mode{Fast, Immediate} {
		tx, err := db.Begin()
		must(t, err)
		_, err = tx.Exec("INSERT INTO t VALUES (1)")
		must(t, err)
		must(t, s.Restart(mode))
		if err := tx.Commit(); err == nil {
			t.Errorf("%s: commit went through a restart", mode)
		}
	}
	if got := ask(t, db, "SELECT count(*)::text FROM t"); got != "0" {
		t.Errorf("%s rows of transactions that were not committed", got)
	}
	do(t, db, "DROP TABLE t")
}

func TestStopModeMustExist(t *testing.T) {
	if err := own(t).Stop("gently"); err == nil {
		t.Error("no error")
	}
}

func TestATakenPortIsNoFailure(t *testing.T) {
	s := usual(t)
	must(t, s.Stop(Fast))
	taken, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	must(t, err)
	defer taken.Close()
	offers := 0
	must(t, s.startOn(func() (int, error) {
		if offers++; offers == 1 {
			return taken.Addr().(*net.TCPAddr).Port, nil
		}
		return freePort()
	}))
	if offers != 2 {
		t.Errorf("%d ports tried", offers)
	}
	must(t, open(t, s.DSN()).Ping())
}

func TestAServerThatCannotStartShowsItsLogAndLeavesNothing(t *testing.T) {
	if _, err := Find(); err != nil {
		refuse(t, err)
	}
	dir := reachable(t)
	_, err := Start(Options{Dir: dir, Settings: map[string]string{"shared_buffers": "plenty"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestAFolderWithALongNameIsRefused(t *testing.T) {
	if _, err := Find(); err != nil {
		refuse(t, err)
	}
	dir := filepath.Join(reachable(t), strings.Repeat("x", 100))
	must(t, os.Mkdir(dir, 0o755))
	if _, err := Start(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
