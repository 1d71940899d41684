package sqlite3_test

import (
	"database/sql"
	"fmt"
	"math"
	"slices"
)

// explain returns what no serial order explains; "" if one explains everything.
func (run *contendedRun) explain() (wrong string, err error) {
	order, traceless, wrong := run.serialOrder()
	if wrong == "" {
		wrong = realTime(order)
	}
	if wrong != "" {
		return wrong, nil
	}
	plain, err := run.open("plain")
	if err != nil {
		return "", err
	}
	defer plain.Close()
	plain.SetMaxOpenConns(1)
	for i := 0; i <= len(order); i++ {
		traceless = slices.DeleteFunc(traceless, func(s *diffStep) bool { return run.fits(plain, s) })
		if i == len(order) {
			break
		}
		again := &diffStep{ops: order[i].ops}
		run.take(plain, again)
		if !slices.Equal(order[i].answers, again.answers) {
			return fmt.Sprintf("step %d in serial order: %v\nplain: %q\nours:  %q", i, order[i].ops, again.answers, order[i].answers), nil
		}
	}
	if len(traceless) > 0 {
		return fmt.Sprintf("the answer fits nowhere: %v\nours:  %q", traceless[0].ops, traceless[0].answers), nil
	}
	if final := dump(plain); final != run.final {
		return diffLines(final, run.final), nil
	}
	return "", nil
}

// first is the log's first entry of a group's; 0 if there is none.
func (g diffGroup) first(at map[int64]int64) (first int64) {
	for _, tag := range g.tags {
		if seq := at[tag]; seq > 0 && (first == 0 || seq < first) {
			first = seq
		}
	}
	return first
}

// serialOrder merges the groups with the steps that only the log knows: such a step was before a group if it was in
// the log by then.
func (run *contendedRun) serialOrder() (order, traceless []*diffStep, wrong string) {
	byTag := make(map[int64]*diffStep)
	for _, s := range run.steps {
		byTag[s.tag()] = s
	}
	placed := make(map[*diffStep]bool)
	place := func(tag int64) {
		s := byTag[tag]
		switch {
		case s == nil:
			wrong = fmt.Sprintf("a call of nobody's: %d", tag)
		case placed[s]:
			wrong = fmt.Sprintf("executed twice: %v", s.ops)
		default:
			order, placed[s] = append(order, s), true
		}
	}
	logged := run.logged
	grouped, at := make(map[int64]bool), make(map[int64]int64)
	for _, g := range run.groups {
		for _, tag := range g.tags {
			grouped[tag] = true
		}
	}
	for _, l := range logged {
		at[l.tag] = l.seq
	}
	others := func(until int64) { // that are in no group
		for ; len(logged) > 0 && logged[0].seq <= until; logged = logged[1:] {
			if !grouped[logged[0].tag] {
				place(logged[0].tag)
			}
		}
	}
	for _, g := range run.groups {
		if !run.shares() {
			others(g.after)
		}
		for _, tag := range g.tags {
			switch {
			case !run.shares():
				place(tag)
			case at[tag] > 0:
				others(at[tag])
				place(tag)
			case !g.again && g.first(at) > 0:
				others(g.first(at))
				place(tag)
			}
		}
	}
	others(math.MaxInt64)
	for _, s := range run.steps {
		if !placed[s] {
			traceless = append(traceless, s)
		}
	}
	return order, traceless, wrong
}

// realTime checks that no step comes before one that had been answered when it began.
func realTime(order []*diffStep) string {
	for i, later := range order {
		for _, earlier := range order[:i] {
			if later.ended < earlier.began {
				return fmt.Sprintf("%v was answered before %v began, and executed after it", later.ops, earlier.ops)
			}
		}
	}
	return ""
}

// fits says that a step that changed nothing is answered on the plain driver, at this place, as it was on ours. It is
// taken back: at another place it might change something.
func (run *contendedRun) fits(plain *sql.DB, s *diffStep) bool {
	if _, err := plain.Exec("SAVEPOINT here"); err != nil {
		return false
	}
	again := &diffStep{ops: s.ops}
	run.take(plain, again)
	plain.Exec("ROLLBACK TO here") // there is none if the step has ended the transaction
	plain.Exec("RELEASE here")
	return slices.Equal(again.answers, s.answers)
}
