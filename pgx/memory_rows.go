package pgx

import (
	"math"
	"slices"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/sqltext"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// The rows of a text. What is committed must be kept for its caller, however much it is. So COMMIT goes with a request only if it is
// certain before that the request has no more rows than a group keeps. The results that its text has had tell nothing: a DELETE that
// gives one row each time may give a million the next time.

// mostRows is how many rows a call of the text can have.
func (e *experience) mostRows(c *engine.Call) int {
	if c.WantsRows() && e.most == 0 {
		if e.most = sqltext.MostRows(c.Query); e.most == 0 {
			e.most = math.MaxInt
		}
	}
	return e.most
}

// fixedSize is what a value of a type that has a fixed size counts at most, in bytes. A UUID is text.
const fixedSize = 16 + 36

// isBounded reports that a request has no more rows than a group keeps, whatever the database holds: one row, which the plain driver
// has in memory, too; or several whose columns have a fixed size.
func (r *request) isBounded() bool {
	switch {
	case !r.call.WantsRows(), r.route.most == 1:
		return true
	case r.described == nil:
		return false
	}
	for i := range r.described.Fields {
		oid := r.described.Fields[i].DataTypeOID
		if stdlibFormats[oid] != pgx.BinaryFormatCode && oid != pgtype.UUIDOID || oid == pgtype.ByteaOID {
			return false
		}
	}
	return engine.Keeps(r.route.most, fixedSize*len(r.described.Fields))
}

// mayBeLarge reports that a request may have more rows than a group keeps.
func mayBeLarge(requests []request) bool {
	return slices.ContainsFunc(requests, func(r request) bool { return !r.isBounded() })
}

// withoutLarge returns the requests whose rows are bounded, and puts off the others. A text whose own way this is stays out of groups
// for a while.
func withoutLarge(requests []request) []request {
	kept := requests[:0]
	for _, r := range requests {
		switch {
		case r.isBounded():
			kept = append(kept, r)
		case r.route.road == roadPipeline:
			r.call.PutOffLarge()
		default:
			r.call.PutOff()
		}
	}
	return kept
}
