//go:build cgo

package sqlite3

import (
	"database/sql/driver"
	"math"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"
)

// A segment is a run of steps that go to SQLite at once, one statement each: calls of a group one behind the other, and what is
// around them. Each crossing into C has the runtime give the leader's processor away, if it takes long, and the leader may wait for
// another behind all callers that have just been woken.
type segment struct {
	steps  []step
	values []value
	text   []byte // of all texts and blobs
	at     int32  // the first step that has not succeeded
}

// A value is an argument as SQLite gets it.
type value struct {
	bits int64 // the number, or where it begins in the segment's text
	size int32 // in the text
	kind int32
}

const (
	null int32 = iota
	integer
	float
	text8
	blob
)

// A step is one statement.
type step struct {
	statement uint64 // SQLite's handle
	id        int64  // of a statement without values: when it began, in ns
	changes   int64  // of a statement without values: when it ended
	first, n  int32  // its values
}

// driverOnly has new sessions make no segments: each step goes by the driver's own call. It is for tests.
var driverOnly atomic.Bool

// What a segment holds at most. There is another one behind it.
const (
	segmentValues = 1 << 16
	segmentText   = 1 << 20
)

func (s *segment) clear() {
	if s.text == nil {
		s.text = make([]byte, 0, 256) // an empty text is no NULL
	}
	s.steps, s.values, s.text, s.at = s.steps[:0], s.values[:0], s.text[:0], 0
}

func (s *segment) full() bool { return len(s.values) >= segmentValues || len(s.text) >= segmentText }

// add adds a statement with the arguments that the driver would bind, in the same way. False if the driver has to do it.
func (s *segment) add(statement uint64, args []driver.NamedValue) bool {
	first, used := len(s.values), len(s.text)
	for i := range args {
		if args[i].Name != "" || args[i].Ordinal != i+1 || !s.addValue(args[i].Value) {
			s.values, s.text = s.values[:first], s.text[:used]
			return false
		}
	}
	s.steps = append(s.steps, step{statement: statement, first: int32(first), n: int32(len(args))})
	return true
}

func (s *segment) addValue(v driver.Value) bool {
	used := len(s.text)
	val := value{bits: int64(used)}
	switch v := v.(type) {
	case nil:
	case int64:
		val.kind, val.bits = integer, v
	case bool:
		val.kind, val.bits = integer, 0
		if v {
			val.bits = 1
		}
	case float64:
		val.kind, val.bits = float, int64(math.Float64bits(v))
	case string:
		val.kind = text8
		s.text = append(s.text, v...)
	case []byte:
		if v != nil {
			val.kind = blob
			s.text = append(s.text, v...)
		}
	case time.Time:
		val.kind = text8
		s.text = v.AppendFormat(s.text, sqlite3.SQLiteTimestampFormats[0])
	default:
		return false
	}
	val.size = int32(len(s.text) - used)
	s.values = append(s.values, val)
	return true
}
