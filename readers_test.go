package groupcommit

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func isLikely(r *readers, query string) bool {
	yes, _ := r.likely(query)
	return yes
}

func TestATextBeginsReadersOnceItsTransactionsHaveNotWritten(t *testing.T) {
	var r readers
	assert.False(t, isLikely(&r, "a"), "nothing is known of it")
	_, enough := r.likely("a")
	r.ended("a", false)
	assert.False(t, isLikely(&r, "a"))
	r.ended("a", false)
	assert.True(t, isLikely(&r, "a"))
	select {
	case <-enough:
	default:
		t.Error("who waits for a turn is not told")
	}
	assert.False(t, isLikely(&r, "b"), "it is another")
}

func TestATransactionThatWritesTakesItBack(t *testing.T) {
	var r readers
	for range 5 {
		r.ended("a", false)
	}
	r.ended("a", true)
	for range readsEnough - writesCount - 1 {
		assert.False(t, isLikely(&r, "a"))
		r.ended("a", false)
	}
	_, enough := r.likely("a")
	r.ended("a", false)
	assert.True(t, isLikely(&r, "a"))
	<-enough
}

func TestANewTextIsJudgedByThoseBefore(t *testing.T) {
	var r readers
	for i := range freshEnough {
		assert.False(t, isLikely(&r, fmt.Sprint(i)))
		r.ended(fmt.Sprint(i), false)
	}
	assert.True(t, isLikely(&r, "new"))
	r.ended("new", true)
	assert.False(t, isLikely(&r, "newer"))
}
