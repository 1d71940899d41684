package groupcommit

import (
	"database/sql/driver"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestArgumentsThatDifferForTheDatabaseHaveDifferentFingerprints(t *testing.T) {
	seen := make(map[string]any)
	for _, v := range []any{nil, []byte{}, "", int64(1), 1.0, "1", []byte("1"), true, false, int64(0)} {
		print := string(fingerprint("q", []driver.NamedValue{{Ordinal: 1, Value: v}}))
		assert.NotContains(t, seen, print, "%T %v", v, v)
		seen[print] = v
	}
	none := fingerprint("q", []driver.NamedValue{{Ordinal: 1, Value: nil}})
	assert.Equal(t, none, fingerprint("q", []driver.NamedValue{{Ordinal: 1, Value: []byte(nil)}}), "both are NULL")
}

func TestAResultOfSomebodyElseIsNoReplay(t *testing.T) {
	assert.False(t, Deduplicated(nil))
	assert.False(t, Deduplicated(driver.RowsAffected(1)))
	assert.False(t, Deduplicated(struct{ driver.Result }{}))
}
