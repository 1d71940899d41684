package groupcommit

import (
	"context"
	"database/sql/driver"
	"fmt"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/stretchr/testify/require"
)

func TestAFlightThatSomebodyHoldsIsNotUsedAgain(t *testing.T) {
	background := context.Background()
	var fs flights
	fly := func(id string, rows int64) *flight {
		f, mine, err := fs.board(id, "print")
		require.NoError(t, err)
		require.True(t, mine, id)
		fs.land(f, answered(rows), background)
		return f
	}
	fly("held", 4711)
	held, mine, err := fs.board("held", "print")
	require.NoError(t, err)
	require.False(t, mine, "the latest are kept")
	used := make(map[*flight]bool)
	for i := range 3 * keptFlights * len(fs.parts) {
		used[fly(fmt.Sprint(i), 1)] = true
	}
	out, ok := held.share(background, time.Time{}, 0, nil)
	require.True(t, ok)
	rows, err := out.Result.RowsAffected()
	require.NoError(t, err)
	require.EqualValues(t, 4711, rows)
	require.False(t, used[held])
	require.Less(t, len(used), 2*keptFlights*len(fs.parts), "the others are")
	fly("held", 1) // it is no longer kept
}

func TestAPromiseIsForgottenWithItsRetention(t *testing.T) {
	fs := flights{keep: 1} // a nanosecond
	for range 2 * keptFlights * len(fs.parts) {
		f, mine, err := fs.board("again", "print")
		require.NoError(t, err)
		require.True(t, mine)
		fs.land(f, engine.Answer{}, context.Background())
	}
	require.Len(t, fs.part("again").byID, 1)
}

func answered(rows int64) engine.Answer {
	var c engine.Call
	c.Answer(driver.RowsAffected(rows), nil)
	return c.Outcome()
}
