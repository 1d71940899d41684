package groupcommit

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/groupcommit/groupcommit/engine"
)

func TestEachFunctionIsToldOfEachGroup(t *testing.T) {
	var told []string
	tell := func(who string) Option {
		return OnGroup(func(g GroupInfo) { told = append(told, fmt.Sprint(who, len(g.Calls))) })
	}
	name := newFake().register(t, tell("a"), tell("b"))
	for range 2 { // the options of Register serve each database
		db, err := Open(name, "x", tell("c"))
		require.NoError(t, err)
		_, err = db.Exec("INSERT 1")
		require.NoError(t, err)
		require.NoError(t, db.Close())
	}
	require.Equal(t, []string{"a1", "b1", "c1", "a1", "b1", "c1"}, told)
}

func TestAGroupTellsOfEachCallWhenItCame(t *testing.T) {
	before := time.Now()
	var info GroupInfo
	f := newFake()
	db := f.db(t, OnGroup(func(g GroupInfo) { info = g }))
	_, err := db.Exec("INSERT 1")
	require.NoError(t, err)
	require.Equal(t, engine.GenericSQL, info.Dialect)
	require.Len(t, info.Since, 1)
	require.WithinRange(t, info.Since[0], before, time.Now().Add(-info.Took))
}
