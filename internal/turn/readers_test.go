package turn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func isLikely(r *Readers, query string) bool {
	yes, _ := r.Likely(query)
	return yes
}

func TestATextBeginsReadersOnceItsTransactionsHaveNotWritten(t *testing.T) {
	var r Readers
	assert.False(t, isLikely(&r, "a"), "nothing is known of it")
	_, enough := r.Likely("a")
	r.Ended("a", false)
	assert.False(t, isLikely(&r, "a"))
	r.Ended("a", false)
	assert.True(t, isLikely(&r, "a"))
	select {
	case <-enough:
	default:
		t.Error("who waits for a turn is not told")
	}
	assert.False(t, isLikely(&r, "b"), "it is another")
}

func TestATransactionThatWritesTakesItBack(t *testing.T) {
	var r Readers
	for range 5 {
		r.Ended("a", false)
	}
	r.Ended("a", true)
	for range readsEnough - writesCount - 1 {
		assert.False(t, isLikely(&r, "a"))
		r.Ended("a", false)
	}
	_, enough := r.Likely("a")
	r.Ended("a", false)
	assert.True(t, isLikely(&r, "a"))
	<-enough
}

func TestANewTextIsJudgedByThoseBefore(t *testing.T) {
	var r Readers
	for i := range freshEnough {
		assert.False(t, isLikely(&r, fmt.Sprint(i)))
		r.Ended(fmt.Sprint(i), false)
	}
	assert.True(t, isLikely(&r, "new"))
	r.Ended("new", true)
	assert.False(t, isLikely(&r, "newer"))
}

// A text that reads is taken for a reader's again and again, however often a transaction that began with it has written since.
func TestATextIsTakenForAReadersAgainAfterAWrite(t *testing.T) {
	var r Readers
	for range 3 {
		for range 40 {
			r.Ended("SELECT 1", false)
		}
		yes, enough := r.Likely("SELECT 1")
		require.True(t, yes)
		<-enough
		r.Ended("SELECT 1", true)
		yes, _ = r.Likely("SELECT 1")
		require.False(t, yes)
	}
}
