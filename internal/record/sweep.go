package record

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

const (
	sweepMost  = 1000 // promises that a [Sweep] deletes in one transaction, at most
	sweepTries = 3    // to delete what is old in a piece, before it goes on to the next
)

// A Sweep deletes the promises that were completed longer ago than an age. It goes round the table for ever, piece by piece, in
// the order in which the rows lie. That needs no index, which every call with an id would have to keep up.
//
// Where a row lies decides when it is looked at, and never that it is deleted: the statement that deletes has the condition,
// too. A row that moves (by VACUUM, or by an update on PostgreSQL) or is put where another was may be missed, and is found in
// the next round. A piece is read first, so that one without an old promise costs no write and no writer's turn.
//
// A Sweep is for one goroutine.
type Sweep struct {
	Dialect Dialect
	Age     time.Duration

	place  Place
	pieces int // of this round, so far
	round  int // of the last whole round; 0: there was none
	failed int // deletions in this piece
}

// Place is where a piece begins, as the statement for the piece before it has said. The zero Place is the table's beginning.
type Place struct {
	From    int64 // the rowid before it, or the block
	Version int64 // of the server, by its own number; 0: not known
}

// Step looks at one piece and deletes what is old in it. more says that it has deleted as much as one transaction may: the
// next step looks at the same piece. So it does after an error, but not for ever: a row that cannot be deleted, because something of
// the program's refers to it, say, is left to the next round, with its piece.
func (s *Sweep) Step(ctx context.Context, q durable.Querier) (more bool, err error) {
	next, last, n, places, err := s.look(ctx, q)
	if err != nil {
		return false, err
	}
	if n > 0 {
		var deleted int64
		deleted, err = exec(ctx, q, s.Dialect.Forget(places, s.Age))
		if err != nil {
			if s.failed++; s.failed < sweepTries {
				return false, err
			}
		} else if deleted >= sweepMost { // fewer: others have locked or deleted the rest, or a trigger keeps it
			return true, nil
		}
	}
	s.place, s.failed = next, 0
	if s.pieces++; last {
		s.place.From, s.round, s.pieces = 0, s.pieces, 0
	}
	return false, err
}

// look reads where the next piece begins, whether this one is the table's last, and the places of what is old in it.
func (s *Sweep) look(ctx context.Context, q durable.Querier) (next Place, last bool, n int, places string, err error) {
	rows, err := query(ctx, q, s.Dialect.Old(s.place, s.Age))
	if err != nil {
		return next, false, 0, "", err
	}
	defer rows.Close()
	if rows.Next() {
		err = rows.Scan(&next.From, &next.Version, &last, &n, &places)
	}
	if err == nil {
		err = rows.Err()
	}
	return next, last, n, places, err
}

// Pieces is about how many the table has; 0: that is not known yet, because the first round is not over.
func (s *Sweep) Pieces() int {
	if s.round == 0 {
		return 0
	}
	return max(s.round, s.pieces)
}
