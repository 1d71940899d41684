package sqlite3_test

import (
	"context"
	"database/sql/driver"
	"strings"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
)

// A short busy timeout shows what would otherwise only be slow: SQLite must never have to wait for this process. The
// callers' own patience must not be as short, or they would not wait for each other: so the timeout is set behind the
// engine's back.
const impatient = "&_busy_timeout=1"

// impatientDriver is the package's driver with the engine below.
const impatientDriver = "sqlite3-impatient-groupcommit"

func init() {
	groupcommit.Register(impatientDriver, &mattn.SQLiteDriver{}, groupcommit.WithEngine(impatientEngine{}))
}

// impatientEngine is the package's, but for data source names with impatient.
type impatientEngine struct{}

func (impatientEngine) Open(ctx context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	lite, ok := engine.Unwrapped[*mattn.SQLiteConn](conn)
	if !ok || !strings.Contains(s.DSN, impatient) {
		return sqlite3.Engine.Open(ctx, conn, s)
	}
	if _, err := lite.Exec("PRAGMA busy_timeout = 5000", nil); err != nil {
		return nil, err
	}
	s.DSN = strings.Replace(s.DSN, impatient, "", 1)
	session, err := sqlite3.Engine.Open(ctx, conn, s)
	if err == nil {
		_, err = lite.Exec("PRAGMA busy_timeout = 1", nil)
	}
	return session, err
}
