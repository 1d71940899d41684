package pgx_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/difftest"
	"github.com/stretchr/testify/require"
)

// idProgram is a manyProgram most of whose calls have ids. Some come again, in the same group or in a later one, with the same request or
// another. Now and then the program is started anew.
type idProgram struct {
	table  string
	schema []string
	steps  []idStep
}

// idStep is a change of the table, or a group of calls.
type idStep struct {
	change string
	anew   bool // the program is started anew before
	calls  []named
}

// The plain driver has the ids in a map.
func TestDifferentialAProgramCannotTellManyRowsWithIDs(t *testing.T) {
	_, many := manyTest[idProgram]{
		usual: 5,
		opts:  []groupcommit.Option{groupcommit.Promises()},
		new:   newIDProgram,
		both: func(p idProgram, b diffBench) (plain, ours []string, err error) {
			b.ours.exec(b.ours.db, "DELETE FROM log WHERE k = -1") // makes the table
			b.ours.exec(b.ours.plain, "DELETE FROM public.groupcommit_promises WHERE id <> ''")
			b.ours.forget()
			if plain, err = p.on(b.plain, &byHand{r: b.plain}); err == nil {
				ours, err = p.on(b.ours, ledgered{b.ours})
			}
			return plain, ours, err
		},
		steps: func(p idProgram) int { return len(p.steps) },
		less:  idProgram.less,
	}.run(t)
	require.Positive(t, many)
}

// idWay makes the calls of a group, and tells what is recorded of the ids in the end.
type idWay interface {
	anew()
	together(calls []named) (answers []string)
	records() ([]string, error)
}

// byHand keeps the ids as a program by itself would.
type byHand struct {
	r    *rig
	kept map[string]record
}

type record struct {
	request string
	answer  string
	final   bool // it is recorded
	value   string
}

func (h *byHand) anew() {}

func (h *byHand) together(calls []named) (answers []string) {
	if h.kept == nil {
		h.kept = make(map[string]record)
	}
	for _, c := range calls {
		request := fmt.Sprintf("%q %#v", c.query, c.args)
		if k, there := h.kept[c.id]; c.id != "" && there {
			if k.request != request {
				k.answer = mismatch
			}
			answers = append(answers, k.answer)
			continue
		}
		res, err := h.r.plain.Exec(c.query, c.args...)
		k := record{request: request, answer: resultText(res, err)}
		if err == nil {
			n, _ := res.RowsAffected()
			k.final, k.value = true, fmt.Sprintf(`1 {"rows":%d}`, n)
		} else if state := sqlState(err); c.id != "" {
			k.answer = "error " + state
			k.final = state != "" && strings.Contains("22 23 P0", state[:2])
			k.value = "2 " + state
		}
		if c.id != "" {
			h.kept[c.id] = k
		}
		answers = append(answers, k.answer)
	}
	for id, k := range h.kept { // the group is over, and what is not recorded is free
		if !k.final {
			delete(h.kept, id)
		}
	}
	return answers
}

const mismatch = "a mismatch"

func (h *byHand) records() (all []string, err error) {
	for id, k := range h.kept {
		all = append(all, id+" "+k.value)
	}
	return all, nil
}

type ledgered struct{ r *rig }

func (l ledgered) anew() { l.r.forget() }

func (l ledgered) together(calls []named) (answers []string) {
	release := l.r.hold()
	var promises []*groupcommit.Promise
	for _, c := range calls {
		ctx := background
		if c.id != "" {
			ctx = groupcommit.WithID(ctx, c.id)
		}
		promises = append(promises, groupcommit.Go(ctx, l.r.db, c.query, c.args...))
	}
	release()
	for i, p := range promises {
		res, err := p.Await(background)
		var rejected *groupcommit.RejectedError
		switch {
		case errors.Is(err, groupcommit.ErrMismatch):
			answers = append(answers, mismatch)
		case errors.As(err, &rejected):
			answers = append(answers, "error "+rejected.Code)
		case err != nil && calls[i].id != "":
			answers = append(answers, "error "+sqlState(err))
		default:
			answers = append(answers, resultText(res, err))
		}
	}
	return answers
}

func (l ledgered) records() ([]string, error) {
	return texts(l.r.plain, `SELECT id || ' ' || state || ' ' || CASE state WHEN 1 THEN convert_from(value, 'UTF8') ELSE coalesce(convert_from(value, 'UTF8')::json ->> 'code', '') END
		FROM public.groupcommit_promises WHERE id <> ''`)
}

// on runs the program.
func (p idProgram) on(r *rig, way idWay) (seen []string, err error) {
	if _, err := r.plain.Exec("DROP SCHEMA IF EXISTS program CASCADE; CREATE SCHEMA program; " + strings.Join(p.schema, "; ")); err != nil {
		return nil, err
	}
	for _, s := range p.steps {
		switch {
		case s.change != "":
			_, err := r.plain.Exec(s.change)
			seen = append(seen, s.change+": "+errorText(err))
		case s.anew:
			way.anew()
		default:
			seen = append(seen, way.together(s.calls)...)
		}
	}
	for i := range seen {
		seen[i] = thatRow.ReplaceAllString(seen[i], "#")
	}
	records, err := way.records()
	if err != nil {
		return nil, err
	}
	slices.Sort(records)
	return append(append(seen, records...), whatIsIn(r, p.table)...), nil // a call that fails loses its place
}

// newIDProgram has at most one call in a group that fails: if more do, those with ids run side by side, and triggers see that.
func newIDProgram(r *rand.Rand) idProgram {
	g := &manyGen{diffGen: diffGen{Rand: r}, t: fmt.Sprintf("t_%x", r.Uint32())}
	p := idProgram{table: g.t}
	for _, s := range g.schema() {
		if !strings.HasPrefix(s, "CREATE UNIQUE INDEX") {
			p.schema = append(p.schema, strings.ReplaceAll(s, ") NOT NULL", ")"))
		}
	}
	texts := []string{g.text(), g.text()}
	var made []named
	for range 10 {
		if g.chance(25) {
			p.steps = append(p.steps, idStep{change: g.change()})
		}
		if g.chance(30) {
			p.steps = append(p.steps, idStep{anew: true})
		}
		before, bad := g.next, false
		var calls []named
		for len(calls) < 16 {
			text := texts[min(g.IntN(8), 1)^1]
			for range 1 + g.IntN(12) {
				c := named{"", call{text, g.row(text)}}
				wrong := !g.isGood(c)
				for ; wrong && bad; wrong = !g.isGood(c) {
					c.args = g.row(text)
				}
				bad = bad || wrong
				switch n := g.IntN(20); {
				case n < 15:
					c.id = fmt.Sprint(g.t, " ", g.next)
				case n < 17 && len(made) > 0 && !wrong:
					c = made[g.IntN(len(made))]
				case n < 18 && len(made) > 0 && !wrong:
					c.id = made[g.IntN(len(made))].id
				}
				if g.chance(4) && !wrong { // of rows that are there
					c.call = call{"UPDATE " + g.t + " SET p = p WHERE k > $1 AND k <= $2", []any{before - g.IntN(4), before}}
				}
				if c.id != "" && !wrong {
					made = append(made, c)
				}
				calls = append(calls, c)
			}
		}
		p.steps = append(p.steps, idStep{calls: calls})
	}
	return p
}

// isGood reports that no table refuses a row of row's.
func (g *manyGen) isGood(c named) bool {
	k, a := c.args[0], c.args[min(1, len(c.args)-1)]
	b := c.args[len(c.args)-1]
	return len(c.args) == strings.Count(c.query, "$3")+2 && k == any(g.next) && k != any(13) && a != any(13) && fits(a) && (len(c.args) < 3 || b == "1" || b == "2" || b == "3")
}

func fits(a any) bool { n, ok := a.(int); return ok && n < 80 }

func (p idProgram) less(yield func(idProgram) bool) {
	with := func(steps []idStep) bool { return yield(idProgram{p.table, p.schema, steps}) }
	if difftest.Without(p.steps, with) {
		return
	}
	for i, s := range p.steps {
		if difftest.Without(s.calls, func(calls []named) bool {
			steps := slices.Clone(p.steps)
			steps[i].calls = calls
			return len(calls) > 0 && with(steps)
		}) {
			return
		}
	}
}
