package sqltext

import (
	"sync"
	"sync/atomic"
)

// A Cache remembers what is known of the SQL texts that a program uses, so that none is read or prepared twice. It is
// bounded, because a program that writes values into its texts gains nothing from it, and must not fill the memory.
type Cache struct {
	mu sync.RWMutex
	m  map[string]*Text

	version atomic.Int64 // of the schema; counts the changes that go through the database that has the cache
}

// A Text is what is known of one SQL text.
type Text struct {
	Statement
	Query    string
	Settings []Setting // if the text does nothing else to the session
	Inputs   int       // placeholders, by the driver's count when it prepared the text; Unprepared before
}

// Unprepared is the Inputs of a text that the driver has not been asked about. -1 is the driver's own value for not knowing.
const Unprepared = -2

const (
	maxTexts = 2048
	maxText  = 8 << 10 // bytes
)

// Get returns what is known of a text. It reads a text that it does not know.
func (c *Cache) Get(d Dialect, query string) *Text {
	c.mu.RLock()
	t := c.m[query]
	c.mu.RUnlock()
	if t != nil {
		return t
	}
	t = &Text{Statement: Classify(d, query), Query: query, Inputs: Unprepared}
	if t.Sets {
		if made, only := Settings(d, query); only {
			t.Settings = made
		}
	}
	return c.Put(t)
}

// Put keeps t. It replaces what was known of the text.
func (c *Cache) Put(t *Text) *Text {
	if len(t.Query) > maxText {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxTexts {
		c.m = make(map[string]*Text)
	}
	c.m[t.Query] = t
	return t
}

// Forget is called when the schema may have changed: it may be impossible afterwards to prepare a text that could be
// prepared before.
func (c *Cache) Forget() {
	c.mu.Lock()
	c.m = nil
	c.mu.Unlock()
	c.version.Add(1) // last: what is learned under the new version is not what was known before
}

// Version counts the calls of Forget.
func (c *Cache) Version() int64 { return c.version.Load() }
