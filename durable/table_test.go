package durable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The specification's table, a letter for each of its rows. A block is a state with its keys, c for create and u for
// completion; its four columns are the requests. In a column stand the request's keys: none, the promise's own (any, if it
// has none) and, if the promise has one of this kind, another; and under each key a strict and a lenient request.
//
// o is OK, d is OK and deduplicated, and . is KO.
const table = `
state     keys  create    resolve   reject    cancel
none      --    oo oo     .. ..     .. ..     .. ..
PENDING   --    .. ..     oo oo     oo oo     oo oo
PENDING   c-    .. dd ..  oo oo     oo oo     oo oo
RESOLVED  --    .. ..     .. ..     .. ..     .. ..
RESOLVED  -u    .. ..     .. dd ..  .. .d ..  .. .d ..
RESOLVED  c-    .. .d ..  .. ..     .. ..     .. ..
RESOLVED  cu    .. .d ..  .. dd ..  .. .d ..  .. .d ..
REJECTED  --    .. ..     .. ..     .. ..     .. ..
REJECTED  -u    .. ..     .. .d ..  .. dd ..  .. .d ..
REJECTED  c-    .. .d ..  .. ..     .. ..     .. ..
REJECTED  cu    .. .d ..  .. .d ..  .. dd ..  .. .d ..
CANCELED  --    .. ..     .. ..     .. ..     .. ..
CANCELED  -u    .. ..     .. .d ..  .. .d ..  .. dd ..
CANCELED  c-    .. .d ..  .. ..     .. ..     .. ..
CANCELED  cu    .. .d ..  .. .d ..  .. .d ..  .. dd ..
TIMEDOUT  --    .. ..     .d .d     .d .d     .d .d
TIMEDOUT  c-    .. .d ..  .d .d     .d .d     .d .d
`

// row is a row of the table: a request to a promise in a state.
type row struct {
	number     int
	state      string
	ikc, iku   durable.Key // the promise's
	op         string
	key        durable.Key // the request's
	strict     bool
	wantAnswer byte
}

func (r row) String() string {
	return fmt.Sprintf("row %d: %s(%q,%q) %s(%q,%t)", r.number, r.state, r.ikc, r.iku, r.op, r.key, r.strict)
}

var ops = []string{"create", "resolve", "reject", "cancel"}

// rows generates the table from its dimensions: block × request × key × strict.
func rows(t require.TestingT) (all []row) {
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[1:] {
		letters := strings.NewReplacer(" ", "").Replace(line[16:])
		state, ikc, iku := strings.TrimSpace(line[:10]), durable.Key(""), durable.Key("")
		if line[10] == 'c' {
			ikc = "ikc"
		}
		if line[11] == 'u' {
			iku = "iku"
		}
		for _, op := range ops {
			own, any := ikc, durable.Key("ikc")
			if op != "create" {
				own, any = iku, "iku"
			}
			keys := []durable.Key{"", any}
			if own != "" {
				keys = append(keys, "another")
			}
			for _, key := range keys {
				for _, strict := range []bool{true, false} {
					require.NotEmpty(t, letters, line)
					all = append(all, row{len(all) + 1, state, ikc, iku, op, key, strict, letters[0]})
					letters = letters[1:]
				}
			}
		}
		require.Empty(t, letters, line)
	}
	return all
}

func TestTheTableHasTheSpecificationsRows(t *testing.T) {
	all := rows(t)
	require.Len(t, all, 324)
	count := map[string]int{}
	for _, r := range all {
		count[r.state]++
	}
	assert.Equal(t, map[string]int{"none": 16, "PENDING": 34, "RESOLVED": 80, "REJECTED": 80, "CANCELED": 80, "TIMEDOUT": 34}, count)
	for number, want := range map[int]string{ // as the specification numbers them
		1:   `row 1: none("","") create("",true)`,
		36:  `row 36: PENDING("ikc","") create("ikc",false)`,
		122: `row 122: RESOLVED("ikc","iku") reject("iku",false)`,
		190: `row 190: REJECTED("ikc","iku") create("ikc",false)`,
		316: `row 316: TIMEDOUT("ikc","") resolve("iku",false)`,
	} {
		assert.Equal(t, want, all[number-1].String())
	}
}

var stateOf = map[string]durable.State{
	"PENDING": durable.Pending, "RESOLVED": durable.Resolved, "REJECTED": durable.Rejected,
	"CANCELED": durable.RejectedCanceled, "TIMEDOUT": durable.RejectedTimedout,
	"create": durable.Pending, "resolve": durable.Resolved, "reject": durable.Rejected, "cancel": durable.RejectedCanceled,
}

// request makes a request that is named.
func request(ctx context.Context, s durable.Store, op, id string, key durable.Key, strict bool, v durable.Value) (durable.Answer, error) {
	complete := durable.CompleteRequest{ID: id, Key: key, Value: v, Lenient: !strict}
	switch op {
	case "create":
		return s.Create(ctx, durable.CreateRequest{ID: id, Key: key, Param: v, Lenient: !strict, Timeout: noon.Add(time.Hour)})
	case "resolve":
		return s.Resolve(ctx, complete)
	case "reject":
		return s.Reject(ctx, complete)
	case "cancel":
		return s.Cancel(ctx, complete)
	}
	panic(op)
}

// letter is the answer as the table writes it.
func letter(t require.TestingT, a durable.Answer, err error) byte {
	switch {
	case err == nil && a.Deduplicated:
		return 'd'
	case err == nil:
		return 'o'
	case errors.Is(err, durable.ErrNotFound), errors.Is(err, durable.ErrConflict), errors.Is(err, durable.ErrForbidden):
		require.False(t, a.Deduplicated)
		return '.'
	}
	require.NoError(t, err)
	return '?'
}

func text(s string) durable.Value {
	return durable.Value{Data: []byte(s), Headers: map[string]string{"from": s}}
}

func TestEveryRowOfTheTableHolds(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		s, clock := atNoon(open())
		for _, r := range rows(t) {
			clock.Time = noon
			id := fmt.Sprint("row/", r.number)
			before := arrange(t, s, clock, id, r)

			clock.Time = clock.Add(time.Second)
			answer, err := request(background, s, r.op, id, r.key, r.strict, text("new"))
			require.Equal(t, string(r.wantAnswer), string(letter(t, answer, err)), "%v: %v", r, err)

			want := before
			if r.wantAnswer == 'o' {
				want = after(before, r, id, clock.Time)
			}
			require.Equal(t, want, answer.Promise, r)
			after, err := s.Get(background, id)
			require.Equal(t, want, after, r)
			require.Equal(t, want.ID == "", errors.Is(err, durable.ErrNotFound), r)
		}
	})
}

func TestAStrictCompletionWithoutAnErrorHasThePromiseInItsState(t *testing.T) {
	s, clock := atNoon(durable.NewMemory())
	for _, r := range rows(t) {
		if r.op == "create" || !r.strict {
			continue
		}
		clock.Time = noon
		id := fmt.Sprint("row/", r.number)
		arrange(t, s, clock, id, r)
		if answer, err := request(background, s, r.op, id, r.key, true, text("new")); err == nil {
			require.Equal(t, stateOf[r.op], answer.State, r)
		}
	}
}

// arrange brings a promise into the row's state, by requests.
func arrange(t *testing.T, s durable.Store, clock *clock, id string, r row) durable.Promise {
	if r.state == "none" {
		return durable.Promise{}
	}
	want := durable.Promise{ID: id, State: stateOf[r.state], Param: text("old"), CreateKey: r.ikc, CompleteKey: r.iku,
		Created: noon, Timeout: noon.Add(time.Hour)}
	_, err := request(background, s, "create", id, r.ikc, true, text("old"))
	require.NoError(t, err)
	switch r.state {
	case "PENDING":
		return want
	case "TIMEDOUT":
		clock.Time = noon.Add(time.Hour)
		want.Completed = clock.Time
		return want
	}
	clock.Time = noon.Add(time.Minute)
	want.Completed, want.Value = clock.Time, text("done")
	for op, state := range stateOf {
		if op[0] >= 'a' && state == want.State {
			_, err = request(background, s, op, id, r.iku, true, text("done"))
		}
	}
	require.NoError(t, err)
	return want
}

// after is what a request that is OK makes of a promise.
func after(p durable.Promise, r row, id string, now time.Time) durable.Promise {
	if r.op == "create" {
		return durable.Promise{ID: id, Param: text("new"), CreateKey: r.key, Created: now, Timeout: noon.Add(time.Hour)}
	}
	p.State, p.CompleteKey, p.Value, p.Completed = stateOf[r.op], r.key, text("new"), now
	return p
}
