package otel

import (
	"errors"
	"strings"
	"sync"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/engine"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// systemOf is db.system.name.
func systemOf(d engine.Dialect) attribute.KeyValue {
	switch d {
	case engine.SQLiteSQL:
		return semconv.DBSystemNameSQLite
	case engine.PostgresSQL:
		return semconv.DBSystemNamePostgreSQL
	}
	return semconv.DBSystemNameOtherSQL
}

// An operation is what the conventions have of a call. There are few different ones: verbs are those of statements that join groups, and
// errors go by their codes or types.
type operation struct {
	system    attribute.KeyValue
	verb      string
	err, code string // "" if it succeeded; code is a server's own
}

func operationOf(system attribute.KeyValue, c *groupcommit.Call) operation {
	o := operation{system: system, verb: verbOf(c.Query)}
	if err := c.Err(); err != nil {
		o.err, o.code = errorOf(err)
	}
	return o
}

// errorOf is error.type, and db.response.status_code where the server's error has one: the conventions want that for the type, too.
func errorOf(err error) (kind, code string) {
	var state interface{ SQLState() string }
	if errors.As(err, &state) && state.SQLState() != "" {
		return state.SQLState(), state.SQLState()
	}
	return semconv.ErrorType(err).Value.AsString(), ""
}

// sets are the attributes of operations, which are made once: a group has a thousand calls.
type sets struct {
	always []attribute.KeyValue
	mu     sync.Mutex // databases may share an option
	made   map[operation]attribute.Set
}

func newSets(always []attribute.KeyValue) *sets {
	return &sets{always: always, made: make(map[operation]attribute.Set)}
}

func (s *sets) of(o operation) attribute.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, ok := s.made[o]
	if !ok {
		attrs := append([]attribute.KeyValue{o.system}, s.always...)
		if o.verb != "" {
			attrs = append(attrs, semconv.DBOperationName(o.verb))
		}
		if o.err != "" {
			attrs = append(attrs, semconv.ErrorTypeKey.String(o.err))
		}
		if o.code != "" {
			attrs = append(attrs, semconv.DBResponseStatusCode(o.code))
		}
		set = attribute.NewSet(attrs...)
		s.made[o] = set
	}
	return set
}

// verbOf is the first word of a statement in capitals, behind blanks and comments: INSERT, UPDATE, WITH.
func verbOf(query string) string {
	for {
		query = strings.TrimLeft(query, " \t\r\n\f;(")
		switch {
		case strings.HasPrefix(query, "--"):
			_, query, _ = strings.Cut(query, "\n")
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query, "*/")
		default:
			n := 0
			for n < len(query) && (query[n]|0x20 >= 'a' && query[n]|0x20 <= 'z') {
				n++
			}
			return strings.ToUpper(query[:n])
		}
	}
}
