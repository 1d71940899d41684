package groupcommit

import (
	"database/sql"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryOptionSaysWhatIsWrongWithItsValue(t *testing.T) {
	const whole = "a whole number from 1 to 2147483647"
	tests := map[string]struct {
		opt  Option
		want string
	}{
		"MaxLen(0)":             {MaxLen(0), `option MaxLen: "0" is not allowed; ` + whole + " is"},
		"MaxLen(-1)":            {MaxLen(-1), `option MaxLen: "-1" is not allowed; ` + whole + " is"},
		"MaxLen(too much)":      {MaxLen(math.MaxInt32 + 1), `option MaxLen: "2147483648" is not allowed; ` + whole + " is"},
		"MaxBytes(0)":           {MaxBytes(0), `option MaxBytes: "0" is not allowed; ` + whole + " is"},
		"MaxQueue(0)":           {MaxQueue(0), `option MaxQueue: "0" is not allowed; ` + whole + " is"},
		"MaxDelay(-1ns)":        {MaxDelay(-1), `option MaxDelay: "-1ns" is not allowed; a duration of 0 or more, such as 2ms is`},
		"Writers(0)":            {Writers(0), `option Writers: "0" is not allowed; a whole number from 1 to 1000 is`},
		"LockTimeout(-1s)":      {LockTimeout(-time.Second), `option LockTimeout: "-1s" is not allowed; a duration from 0 to 24h, such as 200ms is`},
		"MaxTime(0)":            {MaxTime(0), `option MaxTime: "0s" is not allowed; a duration of more than 0, such as 1m is`},
		"Mode(7)":               {Mode(7), `option Mode: "GroupMode(7)" is not allowed; automatic, transaction or autocommit is`},
		"Retry(nil)":            {Retry(nil), `option Retry: "nil" is not allowed; a RetryPolicy, such as groupcommit.Never is`},
		"OnGroup(nil)":          {OnGroup(nil), `option OnGroup: "nil" is not allowed; a function is`},
		"Physical(0)":           {Physical(0), `option Physical: "0" is not allowed; a whole number from 1 to 2147483647 is`},
		"Physical(-1)":          {Physical(-1), `option Physical: "-1" is not allowed; a whole number from 1 to 2147483647 is`},
		"WithEngine(nil)":       {WithEngine(nil), `option WithEngine: "nil" is not allowed; an Engine is`},
		"no option at all, nil": {nil, `option 2 of 2 is nil`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := defaults.with([]Option{MaxLen(5), test.opt})
			require.EqualError(t, err, "groupcommit: "+test.want)

			_, err = NewConnector(newFake(), MaxLen(5), test.opt)
			require.EqualError(t, err, "groupcommit: "+test.want)

			assert.PanicsWithValue(t, `groupcommit: Register "never-groupcommit": groupcommit: `+test.want, func() {
				Register("never-groupcommit", newFake(), MaxLen(5), test.opt)
			})
			assert.NotContains(t, sql.Drivers(), "never-groupcommit")
		})
	}
}

func TestOptionsSetTheirLimitAndNoOther(t *testing.T) {
	set := func(opts ...Option) limits {
		t.Helper()
		l, err := defaults.with(opts)
		require.NoError(t, err)
		return l
	}
	for _, test := range []struct {
		opt  Option
		want func(*limits)
	}{
		{MaxLen(1), func(l *limits) { l.maxLen = 1 }},
		{MaxLen(math.MaxInt32), func(l *limits) { l.maxLen = math.MaxInt32 }},
		{MaxBytes(7), func(l *limits) { l.maxBytes = 7 }},
		{MaxQueue(7), func(l *limits) { l.maxQueue = 7 }},
		{MaxDelay(0), func(l *limits) {}},
		{MaxDelay(time.Second), func(l *limits) { l.maxDelay = time.Second }},
		{Writers(4), func(l *limits) { l.writers = 4 }},
		{LockTimeout(0), func(l *limits) { l.lockWait = 0 }},
		{MaxTime(time.Second), func(l *limits) { l.maxTime = time.Second }},
		{Mode(Autocommit), func(l *limits) { l.mode = Autocommit }},
		{Promises(), func(l *limits) { l.promises = true }},
		{ManyRows(true), func(l *limits) {}},
		{ManyRows(false), func(l *limits) { l.manyRows = false }},
		{Retention(0), func(l *limits) { l.keep = 0 }},
		{Retention(time.Hour), func(l *limits) { l.keep = time.Hour }},
		{WithEngine(anyEngine()), func(l *limits) { l.engine = anyEngine() }},
	} {
		want := defaults
		test.want(&want)
		assert.Equal(t, want, set(test.opt))
	}
	assert.NotNil(t, set(OnGroup(func(GroupInfo) {})).onGroup)
	assert.Equal(t, 7, set(Physical(7)).physical)
	assert.Equal(t, 3, set(MaxLen(2), MaxLen(3)).maxLen, "the last one wins")
	documented := limits{maxLen: 1000, maxBytes: 16 << 20, maxQueue: 10_000, manyRows: true, lockWait: 200 * time.Millisecond, maxTime: time.Minute, keep: 24 * time.Hour}
	assert.Equal(t, documented, defaults)
}
