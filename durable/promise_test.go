package durable_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnIDIsShortTextAndNotEmpty(t *testing.T) {
	for _, id := range []string{"a", " ", "order/7", "é", "*", strings.Repeat("x", 255)} {
		assert.NoError(t, durable.CheckID(id), id)
	}
	for id, want := range map[string]string{
		"":                       "durable: the id is empty; it must have 1 to 255 bytes",
		strings.Repeat("x", 256): "durable: the id \"" + strings.Repeat("x", 40) + "\"… has 256 bytes; it must have 1 to 255",
		"a\xff":                  `durable: the id "a\xff" is not valid UTF-8`,
		"a\x00b":                 `durable: the id "a\x00b" has a NUL byte, which is not allowed`,
	} {
		assert.EqualError(t, durable.CheckID(id), want)
	}
}

func TestBadInputIsRefusedByAllThatTakeIt(t *testing.T) {
	s := durable.NewMemory()
	complete := durable.CompleteRequest{ID: "x\x00"}
	for name, call := range map[string]func() error{
		"create":  func() error { _, err := s.Create(background, durable.CreateRequest{}); return err },
		"resolve": func() error { _, err := s.Resolve(background, complete); return err },
		"reject":  func() error { _, err := s.Reject(background, complete); return err },
		"cancel":  func() error { _, err := s.Cancel(background, complete); return err },
		"get":     func() error { _, err := s.Get(background, ""); return err },
		`the tag "a\x00" has a NUL byte`: func() error {
			_, err := s.Create(background, durable.CreateRequest{ID: "x", Tags: map[string]string{"a\x00": ""}})
			return err
		},
		`the value of the header "a", "\xff" is not valid UTF-8`: func() error {
			_, err := s.Resolve(background, durable.CompleteRequest{ID: "x", Value: durable.Value{Headers: map[string]string{"a": "\xff"}}})
			return err
		},
		"the timeout 0001-01-02 00:00:00 +0000 UTC is not in the years 1970 to 9999": func() error {
			_, err := s.Create(background, durable.CreateRequest{ID: "x", Timeout: time.Time{}.AddDate(0, 0, 1)})
			return err
		},
		"the limit is -1; it must be 1 to 1000, or 0 for 100": func() error { _, err := s.Search(background, durable.Query{Limit: -1}); return err },
		"the limit is 1001;": func() error { _, err := s.Search(background, durable.Query{Limit: 1001}); return err },
		"the search asks for State(5); the states are PENDING to REJECTED_TIMEDOUT": func() error {
			_, err := s.Search(background, durable.Query{States: []durable.State{5}})
			return err
		},
		"the id pattern": func() error {
			_, err := s.Search(background, durable.Query{ID: strings.Repeat("*", 256)})
			return err
		},
		`the cursor "\xff" is not`: func() error { _, err := s.Search(background, durable.Query{Cursor: "\xff"}); return err },
	} {
		err := call()
		require.Error(t, err, name)
		if strings.HasPrefix(name, "the ") {
			assert.ErrorContains(t, err, "durable: "+name)
		} else {
			assert.ErrorContains(t, err, "durable: the id ", name)
		}
	}
}

func TestAPromiseComesBackAsItWasMade(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		s, clock := atNoon(open())
		clock.Time = noon.Add(1_234_567 * time.Nanosecond)
		odd := map[string]string{`"quoted" <&> \`: "line\nbreak é \u2028", "": ""}
		data := []byte("\x00\xff binary")
		r := durable.CreateRequest{ID: "x", Key: "\x00\xff", Param: durable.Value{Headers: odd, Data: data}, Tags: odd,
			Timeout: noon.Add(time.Hour + 999*time.Microsecond).In(time.FixedZone("", 3600))}
		answer, err := s.Create(background, r)
		require.NoError(t, err)
		want := durable.Promise{ID: "x", CreateKey: "\x00\xff", Param: durable.Value{Headers: odd, Data: []byte("\x00\xff binary")},
			Tags: odd, Timeout: noon.Add(time.Hour), Created: noon.Add(time.Millisecond)}
		require.Equal(t, durable.Answer{Promise: want}, answer)
		data[0] = 'X' // what the caller does with its own is no matter
		answer.Param.Data[1] = 'X'
		other, _ := atNoon(open())
		got, err := other.Get(background, "x")
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestEmptyValuesAreNone(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		s, _ := atNoon(open())
		empty := durable.Value{Headers: map[string]string{}, Data: []byte{}}
		first, err := s.Create(background, durable.CreateRequest{ID: "x", Param: empty, Tags: map[string]string{}})
		require.NoError(t, err)
		require.Equal(t, durable.Promise{ID: "x", Created: noon}, first.Promise)
		done, err := s.Resolve(background, durable.CompleteRequest{ID: "x", Value: empty})
		require.NoError(t, err)
		require.Equal(t, durable.Promise{ID: "x", Created: noon, State: durable.Resolved, Completed: noon}, done.Promise)
		got, err := s.Get(background, "x")
		require.NoError(t, err)
		require.Equal(t, done.Promise, got)
	})
}

func TestATimeoutCompletesAPromise(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		for _, c := range []struct {
			tags map[string]string
			want durable.State
		}{
			{nil, durable.RejectedTimedout},
			{map[string]string{durable.TimeoutTag: "false"}, durable.RejectedTimedout},
			{map[string]string{durable.TimeoutTag: "true"}, durable.Resolved},
		} {
			ahead, clock := atNoon(open())
			behind, slow := atNoon(open())
			id := "x" + c.tags[durable.TimeoutTag]
			made, err := ahead.Create(background, durable.CreateRequest{ID: id, Key: "k", Tags: c.tags, Timeout: noon.Add(time.Second)})
			require.NoError(t, err)

			clock.Time = noon.Add(999 * time.Millisecond)
			got, err := ahead.Get(background, id)
			require.NoError(t, err)
			require.Equal(t, made.Promise, got, "not before the timeout")

			clock.Time = noon.Add(time.Minute)
			want := made.Promise
			want.State, want.Completed = c.want, noon.Add(time.Second)
			got, err = ahead.Get(background, id)
			require.NoError(t, err)
			require.Equal(t, want, got)

			slow.Time = noon
			got, err = behind.Get(background, id)
			require.NoError(t, err)
			require.Equal(t, want, got, "what one process has seen, another whose clock is behind cannot undo")
			answer, err := behind.Resolve(background, durable.CompleteRequest{ID: id, Key: "k"})
			require.ErrorIs(t, err, durable.ErrForbidden)
			require.Equal(t, want, answer.Promise)
		}
	})
}

func TestAPromiseMadeTooLateIsTimedOut(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		s, _ := atNoon(open())
		answer, err := s.Create(background, durable.CreateRequest{ID: "x", Timeout: noon})
		require.NoError(t, err)
		require.False(t, answer.Deduplicated)
		require.Equal(t, durable.Promise{ID: "x", State: durable.RejectedTimedout, Timeout: noon, Created: noon, Completed: noon}, answer.Promise)
		got, err := s.Get(background, "x")
		require.NoError(t, err)
		require.Equal(t, answer.Promise, got)
	})
}

func TestARefusalSaysWhy(t *testing.T) {
	s, clock := atNoon(durable.NewMemory())
	must := func(_ durable.Answer, err error) { require.NoError(t, err) }
	must(s.Create(background, durable.CreateRequest{ID: "done", Key: "k"}))
	must(s.Resolve(background, durable.CompleteRequest{ID: "done", Key: "k"}))
	must(s.Create(background, durable.CreateRequest{ID: "late", Timeout: noon.Add(1e9)}))
	clock.Time = noon.Add(1e9)
	for _, c := range []struct {
		op, id string
		key    durable.Key
		is     error
		want   string
	}{
		{"create", "done", "", durable.ErrConflict, `already: "done" is RESOLVED, and was not made with this key`},
		{"create", "done", "k", durable.ErrConflict, `already: "done" is RESOLVED, and the request is strict`},
		{"reject", "done", "", durable.ErrForbidden, `already: "done" is RESOLVED, and was not completed with this key`},
		{"reject", "done", "k", durable.ErrForbidden, `already: "done" is RESOLVED, and the request, to be REJECTED, is strict`},
		{"resolve", "late", "k", durable.ErrForbidden, `already: "late" is REJECTED_TIMEDOUT, and cannot become RESOLVED`},
		{"cancel", "nowhere", "k", durable.ErrNotFound, `there is no promise of this id: "nowhere"`},
	} {
		_, err := request(background, s, c.op, c.id, c.key, true, durable.Value{})
		assert.True(t, errors.Is(err, c.is), err)
		assert.ErrorContains(t, err, c.want)
	}
}
