package pgx_test

import (
	"database/sql/driver"
	"errors"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/enginetest"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// failingRow is how an error shows a row. Its first value is a number of a sequence.
var failingRow = regexp.MustCompile(`(Failing row contains) \(\d+, `)

// oneGroup is the driver with one group at a time: what a story queues is then one group.
const oneGroup = "pgx-groupcommit-one-group"

func init() { groupcommit.Register(oneGroup, stdlib.GetDefaultDriver(), groupcommit.Writers(1)) }

func TestConformance(t *testing.T) {
	pgtest.Shared(t) // the stories count goroutines, and a server has some
	enginetest.Run(t, enginetest.Config{
		Plain:       "pgx",
		Ours:        oneGroup,
		DSN:         func(t *testing.T) string { return pgtest.DSN(t) },
		LockToHold:  true,
		Placeholder: func(n int) string { return "$" + strconv.Itoa(n) },
		Key:         "BIGSERIAL PRIMARY KEY",
		Blob:        "BYTEA",
		Time:        "TIMESTAMPTZ",
		SetSession:  "SET work_mem = '7MB'",
		GetSession:  "SHOW work_mem",
		LastID:      "SELECT lastval()",
		Slow:        "INSERT INTO items (name, n) SELECT 'slow', 1 FROM pg_sleep(3)",
		NativeError: func(err error) bool {
			var e *pgconn.PgError
			return errors.As(err, &e)
		},
		NativeConn: func(dc driver.Conn) bool {
			_, ok := dc.(*stdlib.Conn)
			return ok
		},
		WithoutChance: func(err error) error {
			var e *pgconn.PgError
			if !errors.As(err, &e) {
				return err
			}
			same := *e
			same.Detail = failingRow.ReplaceAllString(e.Detail, "$1 (?, ")
			return &same
		},
		CommitIsCancelled: true,
	})
}
