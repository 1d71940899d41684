package deadline

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// late is a context that has not been told that its deadline is past.
type late struct {
	context.Context
	at time.Time
}

func (l late) Deadline() (time.Time, bool) { return l.at, true }

func TestAContextIsOverWhenItHasEndedOrItsDeadlineIsPast(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.True(t, Over(ended))
	assert.True(t, Over(late{t.Context(), time.Now()}))
	assert.False(t, Over(late{t.Context(), time.Now().Add(time.Hour)}))
	assert.False(t, Over(t.Context()))
}
