package pgx

import (
	"errors"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What the protocol has no room or no form for is found before anything of it is in a pipeline: there it would be found when
// the pipeline is written, and be everybody's error.
const (
	maxParams  = math.MaxUint16      // of a statement
	maxMessage = math.MaxInt32/2 - 1 // bytes, which is the server's limit, too
	maxShared  = maxMessage / 4      // bytes of a call that travels with others; as text it may be twice as much, and more
)

// sendable reports whether a request can share a pipeline, as far as can be told before its arguments are encoded.
func sendable(r request) bool {
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

var errTooLarge = errors.New("groupcommit/pgx: the arguments have no room in a message") // nobody's: the call is put off
