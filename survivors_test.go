package groupcommit

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where calls may be executed at the same time, those that wait for something are put off, each on a connection of its own.
// There may be thousands of them, and a server has room for a hundred connections.
func TestCallsThatWaitShareSixtyFourConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		db := f.db(t, Writers(2), MaxLen(1))
		var promises []*Promise
		for i := range 200 {
			promises = append(promises, Go(t.Context(), db, fmt.Sprintf("INSERT INTO plug VALUES (%d)", i)))
		}
		time.Sleep(time.Hour) // each lone call keeps the lead for a tenth of a second
		assert.Equal(t, 64, f.count("exec"), "calls that are being executed")
		close(f.hold)
		for _, p := range promises {
			_, err := p.Await(t.Context())
			require.NoError(t, err)
		}
		assert.Len(t, f.stored(), 200)
	})
}
