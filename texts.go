package groupcommit

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// texts remembers what is known of the SQL texts that a program uses, so that none is read or prepared twice. It is
// bounded: a program that writes values into its texts gets no use of it, and must not fill the memory.
type texts struct {
	mu sync.RWMutex
	m  map[string]*text

	version atomic.Int64 // of the schema, as far as it has been changed through us
}

// text is what is known of one SQL text.
type text struct {
	sqltext.Statement
	query     string
	settings  []sqltext.Setting // if they are all that it does to the session
	tentative bool              // it begins or ends a transaction, and writes nothing by itself
	savepoint bool              // it does no more than make a savepoint, or go back to one
	pragma    bool              // it is one PRAGMA
	inputs    int               // placeholders, by the driver's count when it prepared the text; unknown before
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
		s := sqltext.Classify(dialect, query)
		t = &text{Statement: s, query: query, inputs: unprepared}
		if s.Class == sqltext.Control {
			t.tentative, t.savepoint = tentative(query), savepoint(query)
		}
		if s.Sets {
			if made, only := sqltext.Settings(dialect, query); only {
				t.settings = made
			}
		}
		t.pragma = pragma(query)
		t = ts.put(query, t)
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
	ts.version.Add(1)
	ts.mu.Lock()
	ts.m = nil
	ts.mu.Unlock()
}

// tentative reports that a text of transaction control is one plain statement that takes no lock. What it does not
// recognise does.
func tentative(query string) bool {
	words := strings.Fields(strings.ToUpper(strings.TrimRight(query, "; \t\r\n")))
	switch {
	case len(words) == 0 || strings.Contains(strings.Join(words, " "), ";"):
		return false
	case words[0] == "BEGIN":
		return len(words) == 1 || !slices.ContainsFunc(words[1:], func(w string) bool { return w != "TRANSACTION" && w != "DEFERRED" })
	}
	return slices.Contains([]string{"SAVEPOINT", "RELEASE", "COMMIT", "END", "ROLLBACK"}, words[0])
}

// savepoint reports that a text of transaction control is one plain statement about a savepoint.
func savepoint(query string) bool {
	words := strings.Fields(strings.ToUpper(strings.TrimRight(query, "; \t\r\n")))
	if len(words) < 2 || strings.Contains(strings.Join(words, " "), ";") {
		return false
	}
	return words[0] == "SAVEPOINT" || words[0] == "RELEASE" || words[0] == "ROLLBACK" && slices.Contains(words, "TO")
}

// pragma reports that a text is one plain PRAGMA.
func pragma(query string) bool {
	words := strings.Fields(query)
	return len(words) > 1 && strings.EqualFold(words[0], "PRAGMA") && !strings.Contains(strings.TrimRight(query, "; \t\r\n"), ";")
}
