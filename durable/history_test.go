package durable_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

// step is a request to one promise, at a time by the clock of who makes it.
type step struct {
	id      string
	op      string // of the table, or get
	key     durable.Key
	strict  bool
	at      int64         // milliseconds after noon
	timeout time.Duration // of a create, after noon
	value   string
}

// outcome is what is seen of an answer.
type outcome struct {
	letter byte
	record // empty if there is no promise
}

type record struct {
	state     string // of the table
	ikc, iku  durable.Key
	made      string // the value of the create
	came      string // the value of the completion
	timeout   int64
	completed int64
}

var none = record{state: "none"}

// model says what a promise answers, by the table: it looks its row up.
func model(t require.TestingT) porcupine.Model {
	answers := map[string]byte{}
	for _, r := range rows(t) {
		r.number = 0
		answers[r.String()] = r.wantAnswer
	}
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byID := map[string][]porcupine.Operation{}
			for _, o := range all {
				id := o.Input.(step).id
				byID[id] = append(byID[id], o)
			}
			var parts [][]porcupine.Operation
			for _, part := range byID {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return none },
		Step: func(state, input, output any) (bool, any) {
			was, in := state.(record), input.(step)
			if was.state == "PENDING" && was.timeout <= in.at {
				was.state, was.completed = "TIMEDOUT", was.timeout
			}
			if in.op == "get" {
				if was == none {
					return output == outcome{letter: '.'}, was
				}
				return output == outcome{'o', was}, was
			}
			next, answer := was, answers[rowOf(was, in)]
			switch {
			case answer != 'o':
			case in.op == "create":
				next = record{state: "PENDING", ikc: in.key, made: in.value, timeout: in.timeout.Milliseconds()}
				if next.timeout <= in.at {
					next.state, next.completed = "TIMEDOUT", next.timeout
				}
			default:
				next.state = map[string]string{"resolve": "RESOLVED", "reject": "REJECTED", "cancel": "CANCELED"}[in.op]
				next.iku, next.came, next.completed = in.key, in.value, in.at
			}
			if next == none {
				return output == outcome{letter: '.'}, next
			}
			return output == outcome{answer, next}, next
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	}
}

// rowOf names the table's row, in which keys are the promise's own, another, or none.
func rowOf(p record, in step) string {
	r := row{state: p.state, op: in.op, strict: in.strict}
	name := func(own, key durable.Key, as durable.Key) (durable.Key, durable.Key) {
		switch {
		case own == "" && key == "":
			return "", ""
		case own == "":
			return "", as
		case key == "":
			return as, ""
		case own == key:
			return as, as
		}
		return as, "another"
	}
	if in.op == "create" {
		r.ikc, r.key = name(p.ikc, in.key, "ikc")
		r.iku, _ = name(p.iku, "", "iku")
	} else {
		r.iku, r.key = name(p.iku, in.key, "iku")
		r.ikc, _ = name(p.ikc, "", "ikc")
	}
	return r.String()
}

func TestConcurrentHistoriesAreLinearizable(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		const clients, requests, ids = 6, 60, 12
		var histories [clients][]porcupine.Operation
		var done sync.WaitGroup
		begin := time.Now()
		for client := range clients {
			clock := &clock{}
			s := durable.WithClock(open(), clock.now)
			random := rand.New(rand.NewPCG(uint64(client), 7))
			done.Go(func() {
				for i := range requests {
					// The clients go through the ids together, and their clocks differ by up to 8 of 20 milliseconds.
					in := randomStep(random)
					in.id = fmt.Sprint("p", i*ids/requests)
					in.at = int64(i%(requests/ids)*4 + random.IntN(8))
					in.value = fmt.Sprint(client, "/", i)
					clock.Time = noon.Add(time.Duration(in.at) * time.Millisecond)
					histories[client] = append(histories[client], operation(t, s, client, begin, in))
				}
			})
		}
		bounded.Wait(t, "the calls are answered", done.Wait)
		var history []porcupine.Operation
		seen := map[byte]int{}
		for _, h := range histories {
			history = append(history, h...)
			for _, o := range h {
				seen[o.Output.(outcome).letter]++
			}
		}
		require.Len(t, history, clients*requests)
		for _, l := range "od." {
			require.NotZero(t, seen[byte(l)], "nobody was answered %c", l)
		}
		linearizable(t, history)
	})
}

// Everybody has read the pending promise before anybody completes it, and so everybody believes to be the one.
func TestOneOfManyWhoSawAPromisePendingCompletesIt(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		steps := []step{{op: "resolve", key: "k1", at: 1}, {op: "reject", key: "k2", at: 2, strict: true}, {op: "cancel", at: 3},
			{op: "resolve", key: "k1", at: 4}, {op: "reject", key: "k1", at: 10}, {op: "get", at: 11}}
		var stores []durable.Store
		for range steps {
			stores = append(stores, open())
		}
		begin := time.Now()
		for round := range 3 {
			create := step{id: fmt.Sprint("p", round), op: "create", timeout: 10 * time.Millisecond}
			s, _ := atNoon(stores[0])
			history := make([]porcupine.Operation, len(steps))
			made := operation(t, s, 0, begin, create)
			var met, done sync.WaitGroup
			met.Add(len(steps))
			for client, in := range steps {
				in.id, in.value = create.id, fmt.Sprint(client)
				var once sync.Once
				s := durable.WithPause(stores[client], func() { once.Do(met.Done); met.Wait() })
				s = durable.WithClock(s, func() time.Time { return noon.Add(time.Duration(in.at) * time.Millisecond) })
				done.Go(func() { history[client] = operation(t, s, client, begin, in) })
			}
			bounded.Wait(t, "the calls are answered", done.Wait)
			linearizable(t, append(history, made))
		}
	})
}

// operation makes a request and takes down when.
func operation(t *testing.T, s durable.Store, client int, begin time.Time, in step) porcupine.Operation {
	call := time.Since(begin)
	out := perform(t, s, in)
	return porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(begin))}
}

func linearizable(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	m := model(t)
	if result := porcupine.CheckOperationsTimeout(m, history, time.Minute); result != porcupine.Ok {
		require.Equal(t, porcupine.Ok, result, refused(m, history))
	}
}

func randomStep(r *rand.Rand) step {
	keys := []durable.Key{"", "k1", "k1", "k2"}
	in := step{op: append(ops, "get", "create", "resolve")[r.IntN(7)], key: keys[r.IntN(4)], strict: r.IntN(2) == 0}
	if in.op == "get" {
		in.key, in.strict = "", false
	}
	if in.timeout = time.Hour; r.IntN(3) == 0 {
		in.timeout = time.Duration(5+r.IntN(20)) * time.Millisecond
	}
	return in
}

func perform(t *testing.T, s durable.Store, in step) (out outcome) {
	var answer durable.Answer
	var err error
	value := durable.Value{Data: []byte(in.value)}
	switch in.op {
	case "get":
		answer.Promise, err = s.Get(background, in.id)
	case "create":
		answer, err = s.Create(background, durable.CreateRequest{ID: in.id, Key: in.key, Param: value, Lenient: !in.strict,
			Timeout: noon.Add(in.timeout)})
	default:
		answer, err = request(background, s, in.op, in.id, in.key, in.strict, value)
	}
	out.letter = letter(goroutine{t}, answer, err)
	if answer.ID == "" {
		return out
	}
	out.record = record{ikc: answer.CreateKey, iku: answer.CompleteKey, made: string(answer.Param.Data),
		came: string(answer.Value.Data), timeout: answer.Timeout.Sub(noon).Milliseconds()}
	for name, state := range stateOf {
		if state == answer.State && strings.ToUpper(name) == name {
			out.state = name
		}
	}
	if !answer.Completed.IsZero() {
		out.completed = answer.Completed.Sub(noon).Milliseconds()
	}
	return out
}

// goroutine is a test that a goroutine of its own can fail: what was seen goes on to the model.
type goroutine struct{ *testing.T }

func (goroutine) FailNow() {}

// refused lists the operations on the promises whose history is refused.
func refused(m porcupine.Model, history []porcupine.Operation) string {
	var lines []string
	for _, part := range m.Partition(history) {
		if porcupine.CheckOperations(m, part) {
			continue
		}
		for _, o := range part {
			lines = append(lines, fmt.Sprintf("client %d, %d to %d: %s", o.ClientId, o.Call, o.Return, m.DescribeOperation(o.Input, o.Output)))
		}
	}
	return strings.Join(lines, "\n")
}

func TestTheModelRefusesWhatMustNotHappen(t *testing.T) {
	made := record{state: "PENDING", ikc: "k", made: "v", timeout: 10}
	resolved := record{state: "RESOLVED", ikc: "k", iku: "u", made: "v", came: "w", timeout: 10, completed: 1}
	rejected := resolved
	rejected.state = "REJECTED"
	timedout := record{state: "TIMEDOUT", ikc: "k", made: "v", timeout: 10, completed: 10}
	create := step{op: "create", key: "k", value: "v", timeout: 10 * time.Millisecond}
	resolve, reject := step{op: "resolve", key: "u", value: "w", at: 1}, step{op: "reject", key: "u", value: "w", at: 1}
	late, get := step{op: "resolve", key: "u", value: "w", at: 11}, step{op: "get", at: 11}

	type event struct {
		step
		outcome
	}
	created := event{create, outcome{'o', made}}
	for name, c := range map[string]struct {
		holds  bool
		events []event
	}{
		"a resolve that is repeated":           {true, []event{created, {resolve, outcome{'o', resolved}}, {resolve, outcome{'d', resolved}}}},
		"a late resolve that hears OK":         {true, []event{created, {late, outcome{'d', timedout}}, {get, outcome{'o', timedout}}}},
		"a resolve, then a reject":             {false, []event{created, {resolve, outcome{'o', resolved}}, {reject, outcome{'o', rejected}}}},
		"a second first create":                {false, []event{created, created}},
		"a promise that is pending again":      {false, []event{created, {resolve, outcome{'o', resolved}}, {step{op: "get", at: 2}, outcome{'o', made}}}},
		"a promise that is resolved too late":  {false, []event{created, {get, outcome{'o', timedout}}, {resolve, outcome{'o', resolved}}}},
		"a promise that is pending too long":   {false, []event{created, {get, outcome{'o', made}}}},
		"a promise that is gone":               {false, []event{created, {get, outcome{letter: '.'}}}},
		"a repetition that hears of another":   {false, []event{created, {resolve, outcome{'o', resolved}}, {resolve, outcome{'d', rejected}}}},
		"a completion of what was never there": {false, []event{{resolve, outcome{'o', resolved}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var history []porcupine.Operation
			for i, e := range c.events {
				history = append(history, porcupine.Operation{Input: e.step, Output: e.outcome, Call: int64(2 * i), Return: int64(2*i + 1)})
			}
			require.Equal(t, c.holds, porcupine.CheckOperations(model(t), history))
		})
	}
}
