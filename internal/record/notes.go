package record

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// Notes are the arguments of [SQLiteInsert] for any number of promises. They can be used again after Reset, which keeps their
// memory: what each group would leave behind has the collector walk a thousand callers' stacks more often.
type Notes struct {
	all   []Note
	bytes int
}

// Note are promises with the same state, and with keys and values of the same sizes. A group has few such: the results of
// most calls are numbers of as many digits.
type Note struct {
	Rows         int
	state        durable.State
	key, value   int // sizes
	ids          IDs
	keys, values []byte
}

// Reset forgets all promises.
func (n *Notes) Reset() { n.all, n.bytes = n.all[:0], 0 }

// Bytes is the size of the keys and values.
func (n *Notes) Bytes() int { return n.bytes }

// All returns the notes, which are valid until the next Add or Reset. Each is one statement.
func (n *Notes) All() []Note { return n.all }

// Add notes a promise. It keeps neither key nor value.
func (n *Notes) Add(id string, key durable.Key, state durable.State, value []byte) {
	o := n.of(state, len(key), len(value))
	o.Rows++
	n.bytes += len(key) + len(value)
	o.ids.Add(id)
	o.keys = append(o.keys, key...)
	o.values = append(o.values, value...)
}

func (n *Notes) of(state durable.State, key, value int) *Note {
	for i := range n.all {
		if o := &n.all[i]; o.state == state && o.key == key && o.value == value {
			return o
		}
	}
	n.all = slices.Grow(n.all, 1)[:len(n.all)+1]
	o := &n.all[len(n.all)-1]
	*o = Note{state: state, key: key, value: value, ids: o.ids[:0], keys: o.keys[:0], values: o.values[:0]}
	return o
}

// Args are the arguments of [SQLiteInsert]. kind is the commands', or nil.
func (n *Note) Args(kind driver.Value, now time.Time) []driver.Value {
	return []driver.Value{n.ids.JSON(), int64(n.state), n.keys, int64(n.key), n.values, int64(n.value), kind, now.UnixMilli()}
}

// IDs is a JSON array of ids, without its last bracket.
type IDs []byte

// Add adds an id, which is UTF-8.
func (a *IDs) Add(id string) {
	b := *a
	if len(b) == 0 {
		b = append(b, '[')
	} else {
		b = append(b, ',')
	}
	b = append(b, '"')
	plain := 0 // from here on, nothing was to be escaped
	for i := range len(id) {
		c := id[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, id[plain:i]...)
		if plain = i + 1; c < ' ' {
			b = fmt.Appendf(b, `\u%04x`, c)
		} else {
			b = append(b, '\\', c)
		}
	}
	*a = append(append(b, id[plain:]...), '"')
}

// JSON returns the array. There must be an id in it.
func (a IDs) JSON() string { return string(a) + "]" }

func jsonArray(ids []string) string {
	if len(ids) == 0 {
		return "[]"
	}
	var a IDs
	for _, id := range ids {
		a.Add(id)
	}
	return a.JSON()
}
