package groupcommit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestOneSlowCommitSaysNothingOfTheOthers(t *testing.T) {
	var p pace
	p.committed(time.Millisecond)
	p.committed(time.Minute) // a checkpoint, say
	assert.Less(t, p.window(), 1200*time.Microsecond)
	for range 50 {
		p.committed(10 * time.Millisecond)
	}
	assert.Equal(t, yieldMost, p.window(), "but many do")
}
