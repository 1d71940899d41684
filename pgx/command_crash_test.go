package pgx_test

import (
	"testing"

	"github.com/groupcommit/groupcommit/internal/enginetest"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	ours "github.com/groupcommit/groupcommit/pgx"
)

func TestEveryCommandIsCarriedOutOnceWhateverCrashes(t *testing.T) {
	enginetest.CrashCommands(t, ours.DriverName, pgtest.With(pgtest.DSN(t), pgtest.Param("groupcommit_promises", "on")), "INSERT INTO %s (n) VALUES ($1)")
}

func TestCommandProcess(t *testing.T) { enginetest.CommandProcess(t) }
