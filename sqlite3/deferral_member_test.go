package sqlite3_test

import (
	"errors"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

// A call that has failed by itself has changed nothing, whatever becomes of its group's commit.
func TestAMemberWithAnErrorOfItsOwnKeepsItWhenTheSyncFails(t *testing.T) {
	db, l, _ := durables(t, "")
	exec(t, db, "CREATE TABLE u (k INTEGER PRIMARY KEY)")
	l.crowd(t, db)
	l.fails.Store(true)
	cs := calls("INSERT INTO u VALUES (1)", "INSERT INTO u VALUES (1)", "INSERT INTO u VALUES (2)")
	asGroup(t, db, cs)
	var unknown *groupcommit.OutcomeUnknownError
	require.ErrorAs(t, cs[0].err, &unknown)
	require.ErrorContains(t, cs[1].err, "UNIQUE constraint failed")
	require.False(t, errors.As(cs[1].err, &unknown))
	require.ErrorAs(t, cs[2].err, &unknown)
}
