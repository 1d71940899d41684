package lru

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheValueNotUsedForLongestFallsOut(t *testing.T) {
	var dropped []int
	c := New(2, func(v int) { dropped = append(dropped, v) })
	c.Put("a", 1)
	c.Put("b", 2)
	_, ok := c.Get("a")
	assert.True(t, ok)
	c.Put("c", 3)
	assert.Equal(t, []int{2}, dropped)
	_, ok = c.Get("b")
	assert.False(t, ok)
	assert.Equal(t, 2, c.Len())
}

func TestAReplacedValueIsDroppedAndATakenOneIsNot(t *testing.T) {
	var dropped []int
	c := New(2, func(v int) { dropped = append(dropped, v) })
	c.Put("a", 1)
	c.Put("a", 2)
	assert.Equal(t, []int{1}, dropped)
	v, ok := c.Take("a")
	assert.True(t, ok)
	assert.Equal(t, 2, v)
	_, ok = c.Take("a")
	assert.False(t, ok)
	c.Put("b", 3)
	c.Clear()
	assert.Equal(t, []int{1, 3}, dropped)
	assert.Zero(t, c.Len())
}

func TestDropIfDropsWhatIsOutAndNothingElse(t *testing.T) {
	var dropped []int
	c := New(5, func(v int) { dropped = append(dropped, v) })
	c.Put("a", 1)
	c.Put("b", 2)
	c.DropIf(func(key string) bool { return key == "a" })
	if _, ok := c.Get("a"); ok || c.Len() != 1 || len(dropped) != 1 || dropped[0] != 1 {
		t.Fatalf("left %d, dropped %v", c.Len(), dropped)
	}
}
