package sqlite3_test

import (
	"database/sql/driver"
	"errors"
	"path/filepath"
	"testing"

	"github.com/groupcommit/groupcommit/internal/enginetest"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
)

func TestConformance(t *testing.T) {
	file := func(params string) func(*testing.T) string {
		return func(t *testing.T) string {
			return "file:" + filepath.Join(t.TempDir(), "test.db") + "?" + params
		}
	}
	memory := func(*testing.T) string { return ":memory:" }
	for _, c := range []struct {
		name     string
		dsn      func(*testing.T) string
		oneConn  bool
		byDriver bool
	}{
		{"WAL", file("_journal=WAL&_sync=OFF"), false, false},
		{"WALByTheDriver", file("_journal=WAL&_sync=OFF"), false, true},
		{"RollbackJournal", file("_journal=DELETE&_sync=OFF"), false, false},
		{"Memory", memory, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.byDriver {
				defer sqlite3.DriverOnly()()
			}
			enginetest.Run(t, enginetest.Config{
				Plain:        "sqlite3",
				Ours:         sqlite3.DriverName,
				DSN:          c.dsn,
				OneConn:      c.oneConn,
				Placeholder:  func(int) string { return "?" },
				Key:          "INTEGER PRIMARY KEY AUTOINCREMENT",
				Blob:         "BLOB",
				Time:         "TIMESTAMP",
				LastInsertID: true,
				NamedArgs:    true,
				SetSession:   "PRAGMA cache_size = 77",
				GetSession:   "PRAGMA cache_size",
				LastID:       "SELECT last_insert_rowid()",
				Slow: `INSERT INTO items (name, n) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 10000000)
				       SELECT 'slow', max(i) FROM c`,
				NativeError: func(err error) bool {
					var e mattn.Error
					return errors.As(err, &e)
				},
				NativeConn: func(dc driver.Conn) bool {
					_, ok := dc.(*mattn.SQLiteConn)
					return ok
				},
			})
		})
	}
}
