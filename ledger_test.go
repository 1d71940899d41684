package groupcommit

import (
	"database/sql/driver"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAResultOfSomebodyElseIsNoReplay(t *testing.T) {
	assert.False(t, Deduplicated(nil))
	assert.False(t, Deduplicated(driver.RowsAffected(1)))
	assert.False(t, Deduplicated(struct{ driver.Result }{}))
}
