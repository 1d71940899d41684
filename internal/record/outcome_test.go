package record_test

import (
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/stretchr/testify/require"
)

// Programs read these values, and other versions of this one.
func TestAnOutcomeIsReadAsItWasWritten(t *testing.T) {
	for value, o := range map[string]record.Outcome{
		`{}`:                         {},
		`{"rows":0}`:                 {HasRows: true},
		`{"rows":0,"id":0}`:          {HasRows: true, HasLastID: true},
		`{"rows":1,"id":-7}`:         {Rows: 1, HasRows: true, LastID: -7, HasLastID: true},
		`{"id":9223372036854775807}`: {LastID: 1<<63 - 1, HasLastID: true},
		`{"code":"23505","message":"\"a\" \u003c \\ä\n\u0000"}`: {Code: "23505", Message: "\"a\" < \\ä\n\x00"},
		`{"message":"no code"}`:                                 {Message: "no code"},
	} {
		require.Equal(t, "before"+value, string(o.Append([]byte("before"))))
		read, err := record.DecodeOutcome([]byte(value))
		require.NoError(t, err)
		require.Equal(t, o, read)
	}
	_, err := record.DecodeOutcome([]byte("something else"))
	require.Error(t, err)
}

func TestOfALongMessageTheFirstKiBIsRecorded(t *testing.T) {
	message := func(m string) string {
		o, err := record.DecodeOutcome(record.Outcome{Message: m}.Append(nil))
		require.NoError(t, err)
		return o.Message
	}
	require.Equal(t, strings.Repeat("x", 1024), message(strings.Repeat("x", 1024)))
	require.Equal(t, strings.Repeat("x", 1024), message(strings.Repeat("x", 1025)))
	require.Equal(t, "x"+strings.Repeat("ä", 511), message("x"+strings.Repeat("ä", 600)), "no half a character")
	require.Equal(t, "\uFFFDx", message("\xff\xfex"))
}

func TestAResultIsRecordedWithoutAnAllocation(t *testing.T) {
	b := make([]byte, 0, 64)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b = record.Outcome{Rows: 1, HasRows: true, LastID: 1234567, HasLastID: true}.Append(b[:0])
	}))
}

// Lookup tells it, and an earlier version of the library reads it as an Exec's.
func TestTheRowsOfAQueryAreAMemberOfItsOutcome(t *testing.T) {
	o := record.Outcome{Rows: 2, HasRows: true, Returned: []byte{1, 0xff, 0}}
	value := o.Append(nil)
	require.Equal(t, `{"rows":2,"returned":"Af8A"}`, string(value))
	got, err := record.DecodeOutcome(value)
	require.NoError(t, err)
	require.Equal(t, o, got)
	got, err = record.DecodeOutcome([]byte(`{"rows":2}`))
	require.NoError(t, err)
	require.Nil(t, got.Returned)
	_, err = record.DecodeOutcome([]byte(`{"rows":2,"returned":"?"}`))
	require.Error(t, err)
}
