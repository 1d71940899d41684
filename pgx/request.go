package pgx

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A request is a call in a pipeline.
type request struct {
	call      *engine.Call
	query     string                       // the call's, for the memory, which is told after the call has been answered
	route     route                        // what the memory says of it
	flushed   bool                         // its answer is on its way before the next one is there
	rows      int64                        // that it has affected
	described *pgconn.StatementDescription // by the server; nil if it was not asked
	insert    *sqltext.PlainInsert         // the text, if it may have many rows
}

func putOff(requests []request) {
	for _, r := range requests {
		r.call.PutOff()
	}
}

func unknown(requests []request, err error) {
	for _, r := range requests {
		r.call.Answer(nil, &engine.OutcomeUnknownError{Cause: err})
	}
}

// succeeded returns the requests that have been committed. A failed one left nothing.
func succeeded(answered []request) []request {
	var ok []request
	for _, r := range answered {
		if r.call.Err() == nil {
			ok = append(ok, r)
		}
	}
	return ok
}

func anyID(requests []request) bool {
	return slices.ContainsFunc(requests, func(r request) bool { return r.call.ID() != "" })
}

// withoutIDs returns the requests without an id, and puts off the others.
func withoutIDs(requests []request) []request {
	kept := make([]request, 0, len(requests))
	for _, r := range requests {
		if r.call.ID() != "" {
			r.call.PutOff()
		} else {
			kept = append(kept, r)
		}
	}
	return kept
}

// hasGuests reports that an argument may have methods of the program's, which run when it is encoded.
func (r request) hasGuests() bool {
	for i := range r.call.Args {
		switch r.call.Args[i].Value.(type) {
		case nil, bool, string, []byte, time.Time, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64,
			sql.NullBool, sql.NullByte, sql.NullFloat64, sql.NullInt16, sql.NullInt32, sql.NullInt64, sql.NullString, sql.NullTime:
		default:
			return true
		}
	}
	return false
}

// try is the call's Try. If guests is true, exec runs code of the program's, and so in a goroutine of its own: runtime.Goexit
// must end no caller's but that of the call. So the call is put off then.
func (r request) try(guests bool, exec func(*engine.Call) (driver.Result, error)) (returned bool) {
	if !guests {
		return r.call.Try(exec)
	}
	ended, exited := make(chan struct{}), true
	go func() {
		defer close(ended)
		returned = r.call.Try(exec)
		exited = false
	}()
	<-ended
	if exited {
		r.call.PutOff()
	}
	return returned
}

// The limits of the protocol are checked before any part of a request is in a pipeline. Later, the writing of the pipeline
// would fail, and with it every request in it.
const (
	maxParams  = math.MaxUint16      // of a statement
	maxMessage = math.MaxInt32/2 - 1 // bytes, which is the server's limit, too
	maxShared  = maxMessage / 4      // bytes of a call that travels with others; as text it may be twice as much, and more
)

// sendable reports whether a request can share a pipeline, as far as can be told before its arguments are encoded.
func (r request) sendable() bool {
	return len(r.call.Args) <= maxParams && r.call.Bytes() <= maxShared &&
		strings.IndexByte(r.query, 0) < 0 // where the server takes the text to end
}

// fits returns an error if encoded arguments have no room in a message.
func fits(sd *pgconn.StatementDescription, eqb *pgx.ExtendedQueryBuilder) error {
	const fixed = 64 // lengths and counts, and a name of ours
	size := fixed + 2*len(eqb.ParamFormats) + 2*len(eqb.ResultFormats)
	for _, v := range eqb.ParamValues {
		size += 4 + len(v)
	}
	if sd != nil {
		size += len(sd.Name)
	}
	if len(eqb.ParamValues) > maxParams || len(eqb.ResultFormats) > maxParams || size > maxMessage {
		return errTooLarge
	}
	return nil
}

var errTooLarge = errors.New("groupcommit/pgx: the arguments have no room in a message") // no caller gets it: the call is put off
