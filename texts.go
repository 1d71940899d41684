package groupcommit

import (
	"sync"

	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// texts remembers what is known of the SQL texts that a program uses, so that none is read or prepared twice. It is
// bounded: a program that writes values into its texts gets no use of it, and must not fill the memory.
type texts struct {
	mu sync.RWMutex
	m  map[string]*text
}

// text is what is known of one SQL text.
type text struct {
	sqltext.Statement
	inputs int // placeholders, by the driver's count when it prepared the text; unknown before
}

const (
	unprepared = -2 // the driver has not been asked; -1 is its own word for not knowing

	maxTexts    = 2048
	maxTextSize = 8 << 10
)

func (ts *texts) get(dialect sqltext.Dialect, query string) *text {
	ts.mu.RLock()
	t := ts.m[query]
	ts.mu.RUnlock()
	if t == nil {
		t = ts.put(query, &text{Statement: sqltext.Classify(dialect, query), inputs: unprepared})
	}
	return t
}

func (ts *texts) put(query string, t *text) *text {
	if len(query) > maxTextSize {
		return t
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.m == nil || len(ts.m) >= maxTexts {
		ts.m = make(map[string]*text)
	}
	ts.m[query] = t
	return t
}

// forget is called when the schema may have changed: a text that could be prepared before may be an error now.
func (ts *texts) forget() {
	ts.mu.Lock()
	ts.m = nil
	ts.mu.Unlock()
}
