//go:build cgo

package sqlite3

import (
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/groupcommit/groupcommit/engine"
)

// A deferral is the level of a connection's main database while a transaction runs, so that its commit can share a sync. See
// wal.
//
//	own level ── Defer ──→ NORMAL ── COMMIT ──→ Restore ──→ own level
//
// Outside of a transaction PRAGMA synchronous answers what it answers on the plain driver.
type deferral struct {
	wal   *wal    // nil where no log is known; alone says why
	alone *string // why each commit is synced by itself; nil if it may share
	mode  engine.SyncMode
	log   *walLog // that the connection has open; nil if that is not known

	level  int64 // to go back to
	raised bool  // it is another one until then
	shares bool  // what is committed until then is not durable
}

// SQLite's levels.
const (
	levelNormal = 1
	levelFull   = 2
)

// Why a transaction shares no sync.
var (
	aloneNone    = "no other caller writes"
	aloneOwn     = "the connection is a caller's own, or the text may change its settings"
	aloneLevel   = "synchronous is NORMAL or OFF: a commit is not synced"
	aloneJournal = "journal_mode is not WAL"
	aloneName    = "the data source name has vfs, psow, nolock, immutable, cache=shared or a mode without writes"
	aloneOption  = "option Sync is alone"
	aloneSystem  = "only on Linux"
	aloneMemory  = "the database has no file"
	aloneLog     = "the -wal cannot be opened, or is on the file system of a network"
)

// newDeferral is for a connection that has opened a file. One that does not share waits for those that do, before it answers with what they
// have committed, and makes the database well as they do.
func newDeferral(file string, params url.Values, mode engine.SyncMode) (d deferral) {
	d.mode = mode
	main, err := os.Stat(file)
	switch {
	case file == "":
		d.alone = &aloneMemory
	case !canShare:
		d.alone = &aloneSystem
	case otherFiles(params):
		d.alone = &aloneName
	case err != nil:
		d.alone = &aloneLog
	}
	if file != "" && canShare && err == nil {
		d.wal = joinWAL(file, main)
	}
	return d
}

// otherFiles reports that a data source name asks for other files, locks or promises than those of a usual one.
func otherFiles(params url.Values) bool {
	for _, other := range []string{"vfs", "psow", "nolock", "immutable"} {
		if params.Has(other) {
			return true
		}
	}
	mode := strings.ToLower(params.Get("mode"))
	return mode == "ro" || mode == "memory" || params.Get("cache") == "shared"
}

func (d *deferral) close() {
	if d.wal == nil {
		return
	}
	if d.shares {
		d.log.Wrote()
		d.wal.leave()
	}
	d.wal.quit()
	d.wal, d.shares = nil, false
}

// Defer makes a session an engine.Deferrer.
func (s *session) Defer(crowded, own bool) (alone *string, err error) {
	if s.wal == nil {
		return s.alone, nil
	}
	if err := s.heal(); err != nil {
		return nil, err
	}
	switch {
	case s.mode == engine.SyncFull:
	case s.alone != nil:
		return s.alone, nil
	case s.mode == engine.SyncAlone:
		return &aloneOption, nil
	case own:
		return &aloneOwn, nil
	case !crowded:
		return &aloneNone, nil
	}
	level, asked, err := s.wants()
	switch {
	case err != nil || !asked: // the transaction meets the same error
		return &aloneLevel, nil
	case own && level > levelNormal: // its commit is synced
		return &aloneOwn, nil
	}
	s.wal.enter()
	why := s.alone
	if why == nil {
		why = s.logged()
	}
	switch {
	case why != nil:
		s.wal.leave()
		if level == levelNormal && !own {
			err = s.set(level, levelFull)
		}
		return why, err
	case level > levelNormal && s.set(level, levelNormal) != nil:
		s.wal.leave()
		return &aloneLog, nil
	}
	s.shares = true
	return nil, nil
}

// wants is the connection's own level, and whether a commit at that level is to be durable.
func (s *session) wants() (level int64, durable bool, err error) {
	level, err = s.levelNow()
	return level, level >= levelFull || level == levelNormal && s.mode == engine.SyncFull, err
}

func (s *session) levelNow() (int64, error) {
	if s.crossing {
		if level, ok := levelOf(s.lite, -1); ok {
			return level, nil
		}
	}
	return number(s.lite, "PRAGMA main.synchronous")
}

// heal makes the database well if it is sick. Within a transaction that cannot be done. A connection at OFF, which syncs no checkpoint,
// cannot do it either; nothing is promised of what it writes.
func (s *session) heal() error {
	if s.wal.sick() == nil {
		return nil
	}
	level, err := s.levelNow()
	switch {
	case err == nil && level < levelNormal:
		return nil
	case err != nil, !s.lite.AutoCommit():
		return errSync
	}
	return s.wal.heal(&s.connection)
}

func (s *session) set(own, level int64) error {
	err := s.setLevel(level)
	s.level, s.raised = own, err == nil
	return err
}

func (s *session) setLevel(level int64) error {
	if s.crossing {
		if _, ok := levelOf(s.lite, level); ok {
			return nil
		}
	}
	return s.control("PRAGMA main.synchronous=" + strconv.FormatInt(level, 10))
}

// logged is why the main database is not in WAL mode, or its log cannot be synced; nil if it is and can. The connection has the log
// open then, so that no other deletes it; only the connection itself can leave the mode.
func (s *session) logged() *string {
	log, err := s.wal.log()
	if err == nil && log != nil && log == s.log {
		return nil
	}
	s.log = nil
	if mode, err := firstColumn(s.lite.Query("PRAGMA main.journal_mode", nil)); err != nil || len(mode) != 1 || mode[0] != "wal" {
		return &aloneJournal
	}
	if s.control(schemaText) != nil { // if it has just come to the mode, it opens the log when it reads
		return &aloneLog
	}
	if log, err = s.wal.log(); log == nil || err != nil {
		return &aloneLog
	}
	s.log = log
	return nil
}

// Restore makes a session an engine.Deferrer.
func (s *session) Restore() (durable func() error, err error) {
	if s.shares {
		log := s.log
		log.Wrote()
		s.wal.leave()
		durable = func() error {
			if log.Wait() != nil {
				return errSync
			}
			return nil
		}
	}
	if !s.shares && s.wal != nil && s.wal.sick() != nil { // SQLite has synced what is behind something that is lost
		if _, asked, err := s.wants(); asked || err != nil {
			durable = func() error { return errSync }
		}
	}
	if s.raised {
		err = s.setLevel(s.level)
	}
	s.raised, s.shares = false, false
	return durable, err
}

// settled returns when what the connection has read is durable, whoever has committed it.
func (s *session) settled() error {
	if s.wal == nil || s.shares {
		return nil
	}
	if _, asked, err := s.wants(); err != nil || !asked {
		return nil
	}
	return s.wal.wait()
}
