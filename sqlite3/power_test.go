package sqlite3_test

import (
	"database/sql"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/powertest"
	"github.com/groupcommit/groupcommit/internal/syncer"
	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
)

// registerPower registers a driver whose COMMITs make checkpoints often, and ours over it.
var registerPower = sync.OnceFunc(func() {
	d := &sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		_, err := c.Exec("PRAGMA wal_autocheckpoint=20", nil)
		return err
	}}
	sql.Register("power", d)
	groupcommit.Register("power-groupcommit", d)
})

// powered opens a file at a level of synchronous, by the plain driver on one connection or by ours.
func powered(driver, level string) func(file string) (*sql.DB, error) {
	return func(file string) (*sql.DB, error) {
		registerPower()
		db, err := sql.Open(driver, "file:"+file+"?_busy_timeout=20000&_txlock=immediate&_sync="+level)
		if err == nil && !strings.HasSuffix(driver, "-groupcommit") {
			db.SetMaxOpenConns(1)
		}
		return db, err
	}
}

var allWays = []powertest.Way{powertest.Transactions, powertest.Execs, powertest.Returning, powertest.Texts}

// syncs has the library's own syncs be the made disk's.
func syncs(fdatasync func(*os.File) error) { syncer.Fdatasync = fdatasync }

func TestNothingAcknowledgedIsLostByAPowerFailure(t *testing.T) {
	for name, load := range map[string]powertest.Load{
		"with the option full":        {Ways: allWays, Open: powered("sqlite3-groupcommit", "NORMAL&groupcommit_sync=full"), Still: true},
		"by any way of writing":       {Ways: allWays, Open: powered("power-groupcommit", "FULL")},
		"by transactions":             {Ways: []powertest.Way{powertest.Transactions}, Open: powered("power-groupcommit", "FULL")},
		"with another process beside": {Ways: allWays, Open: powered("power-groupcommit", "FULL"), Beside: true},
		"with no checkpoint to help":  {Ways: allWays, Open: powered("sqlite3-groupcommit", "FULL"), Still: true},
	} {
		t.Run(name, func(t *testing.T) {
			load.Go = syncs
			report := powertest.Run(t, load)
			assert.Zero(t, report.Missing, report)
			assert.Zero(t, report.Corrupt, report)
		})
	}
}

func TestThePowerTestFindsNoFaultInThePlainDriverAtFULL(t *testing.T) {
	report := powertest.Run(t, powertest.Load{Ways: allWays, Open: powered("power", "FULL")})
	assert.Zero(t, report.Missing, report)
	assert.Zero(t, report.Corrupt, report)
}

func TestThePowerTestFindsWhatIsNotDurable(t *testing.T) {
	for _, driver := range []string{"sqlite3", "sqlite3-groupcommit"} { // with a checkpoint every 1,000 pages only
		t.Run(driver, func(t *testing.T) {
			report := powertest.Run(t, powertest.Load{Ways: allWays, Open: powered(driver, "NORMAL"), Still: true, Loses: true, Go: syncs})
			assert.NotZero(t, report.Missing, report)
			assert.Zero(t, report.Corrupt, report)
		})
	}
}
