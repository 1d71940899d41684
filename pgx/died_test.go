package pgx_test

import (
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// suicide is a call that ends its own process of the server.
var suicide = call{"INSERT INTO log (k) SELECT 99 FROM pg_terminate_backend(pg_backend_pid())", nil}

func TestACallThatEndsItsOwnConnectionIsNotItsNeighboursEnd(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		r := setUpOn(t, pgtest.DSN(t), via, groupcommit.Retry(groupcommit.Never))
		got := r.together(logged(1), logged(2), suicide, logged(3), logged(4))
		r.good(got, 2)
		r.sameError(suicide, got[2].err)
		r.once(4)
	})
}

func TestACallThatEndsItsOwnConnectionIsNotTheEndOfThoseWithIDs(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t, groupcommit.Retry(groupcommit.Never))
	r.exec(r.plain, "CREATE SEQUENCE times")
	suicide := call{"INSERT INTO log (k) SELECT k FROM (SELECT nextval('times') AS k OFFSET 0) one WHERE pg_terminate_backend(pg_backend_pid())", nil}
	got := r.named(named{"a", logged(1)}, named{"", suicide}, named{"b", logged(2)}, named{"", logged(3)})
	for i, o := range got {
		if i != 1 {
			require.Equal(t, done, o)
		}
	}
	require.Equal(t, "2", r.value("SELECT last_value FROM times"), "how often it was executed: with the others, and alone")
	r.sameError(suicide, got[1].err)
	r.once(3)
}

// Behind a pooler the word of a process that ends says nothing about what the pooler still has to send.
func TestBehindAPoolerWhatWasBehindTheEndOfAPipelineIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	r := pooled(t, nil, groupcommit.Mode(groupcommit.Autocommit))
	got := r.together(logged(1), logged(2), suicide, logged(3), logged(4))
	r.good(got, 2, 3, 4)
	for _, i := range []int{2, 3, 4} {
		r.unknown(got[i].err, i)
	}
	r.noneTwice()
}

func TestACallThatTakesAllTheTimeIsNotItsNeighboursEnd(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(exec, func(t *testing.T) {
			t.Parallel()
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec)},
				groupcommit.Retry(groupcommit.Never), groupcommit.MaxTime(time.Second))
			sleeps := call{"INSERT INTO log (k) SELECT 3 FROM pg_sleep(1.5)", nil}
			r.good(r.together(logged(1), sleeps, logged(2)))
			r.once(3)
		})
	}
}
