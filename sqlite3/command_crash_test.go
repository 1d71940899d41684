package sqlite3_test

import (
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/internal/enginetest"
	"github.com/groupcommit/groupcommit/sqlite3"
)

func TestEveryCommandIsCarriedOutOnceWhateverCrashes(t *testing.T) {
	dsn := strings.Replace(dsnOf(t, "&_busy_timeout=20000&groupcommit_promises=on"), "_sync=OFF", "_sync=FULL", 1)
	enginetest.CrashCommands(t, sqlite3.DriverName, dsn, "INSERT INTO %s (n) VALUES (?)")
}

func TestCommandProcess(t *testing.T) { enginetest.CommandProcess(t) }
