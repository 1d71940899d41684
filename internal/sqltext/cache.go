package sqltext

import (
	"sync"
	"sync/atomic"
)

// A Cache remembers what is known of the SQL texts that a program uses, so that none is read or prepared twice. It is
// bounded: a program that writes values into its texts gets no use of it, and must not fill the memory.
type Cache struct {
	mu sync.RWMutex
	m  map[string]*Text

	version atomic.Int64 // of the schema, as far as it has been changed through the database that has the cache
}

// A Text is what is known of one SQL text.
type Text struct {
	Statement
	Query    string
	Settings []Setting // if they are all that it does to the session
	Inputs   int       // placeholders, by the driver's count when it prepared the text; Unprepared before
}

// Unprepared is the Inputs of a text that the driver has not been asked about; -1 is the driver's own word for not knowing.
const Unprepared = -2

const (
	maxTexts = 2048
	maxText  = 8 << 10 // bytes
)

// Get returns what is known of a text, and reads it if that is nothing.
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

// Put keeps t, in the place of what was known of its text.
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

// Forget is called when the schema may have changed: a text that could be prepared before may be an error afterwards.
func (c *Cache) Forget() {
	c.version.Add(1)
	c.mu.Lock()
	c.m = nil
	c.mu.Unlock()
}

// Version counts the calls of Forget.
func (c *Cache) Version() int64 { return c.version.Load() }
