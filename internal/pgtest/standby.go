package pgtest

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// StartStandby starts a standby of the primary, from a copy of its data: a server that replays what the primary commits, and
// answers queries. It follows asynchronously until Synchronize names it. The standby has its own folder, address and Close;
// its user and password are the primary's.
func StartStandby(primary *Server, o Options) (*Server, error) {
	if primary.External() {
		return nil, ErrExternal
	}
	o.Bin = primary.bin
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	s.address.password = primary.address.password
	upstream := address{host: primary.dir, port: primary.address.port, user: primary.address.user,
		params: map[string]string{"application_name": s.name()}}
	err = inTurn(func() error {
		return s.run("pg_basebackup", "--pgdata="+s.data(), "--dbname="+upstream.keywords(), "--write-recovery-conf",
			"--wal-method=stream", "--checkpoint=fast", "--no-sync")
	}, func() error { return s.configure(o) }, func() error { return s.startOn(freePort) })
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// name is how a standby calls itself to its primary.
func (s *Server) name() string { return filepath.Base(s.dir) }

// Synchronize has the primary acknowledge a commit only when each of these standbys has it on disk too, and returns
// when they have caught up. While one of them does not run, commits on the primary wait. Without a standby, the
// primary waits for no standby again.
func (s *Server) Synchronize(standbys ...*Server) error {
	names := make([]string, len(standbys))
	for i, standby := range standbys {
		names[i] = standby.name()
	}
	setting := ""
	if len(names) > 0 {
		setting = fmt.Sprintf("FIRST %d (%s)", len(names), strings.Join(names, ", "))
	}
	if _, err := s.query("ALTER SYSTEM SET synchronous_standby_names = '" + setting + "'"); err != nil {
		return err
	}
	if _, err := s.query("SELECT pg_reload_conf()::text"); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		state, err := s.query("SELECT count(*)::text || ' ' || current_setting('synchronous_standby_names') " +
			"FROM pg_stat_replication WHERE sync_state = 'sync'")
		if err != nil {
			return err
		}
		if state == fmt.Sprintf("%d %s", len(names), setting) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pgtest: %v did not become synchronous within %v; the primary's log ends:\n%s",
				names, patience, s.Log())
		}
	}
}

// Promote makes a standby a primary and returns when it takes writes.
func (s *Server) Promote() error {
	if s.External() {
		return ErrExternal
	}
	return s.run("pg_ctl", "promote", "--pgdata="+s.data(), "--wait")
}
