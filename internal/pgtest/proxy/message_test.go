package proxy

import "testing"

func TestCommitsSeesTheLastStatement(t *testing.T) {
	for text, want := range map[string]bool{
		"commit": true, "COMMIT;": true, " End ; ": true, "commit and chain": true, "begin; insert into t values (1); commit": true,
		"": false, ";": false, "begin": false, "commit; begin": false, "commit prepared 'x'": false, "insert into commit values (1)": false,
	} {
		if got := commits(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestNamesLeadToTheirTexts(t *testing.T) {
	x := newTexts()
	var got []Message
	for _, f := range []frame{
		{kind: 0, body: []byte("\x00\x03\x00\x00user\x00a\x00\x00")},
		{kind: 'P', body: []byte("a\x00begin\x00\x00\x00")},
		{kind: 'P', body: []byte("b\x00commit\x00\x00\x00")},
		{kind: 'S'},
		{kind: 'B', body: []byte("\x00a\x00\x00\x00\x00\x00\x00\x00")},
		{kind: 'E', body: []byte("\x00\x00\x00\x00\x00")},
		{kind: 'B', body: []byte("p\x00b\x00\x00\x00\x00\x00\x00\x00")},
		{kind: 'E', body: []byte("p\x00\x00\x00\x00\x00")},
		{kind: 'S'},
		{kind: 'Q', body: []byte("select 1\x00")},
	} {
		got = append(got, x.see(f))
	}
	for i, want := range []Message{
		{}, {SQL: "begin"}, {SQL: "commit"}, {Pipeline: 1}, {SQL: "begin", Pipeline: 1}, {SQL: "begin", Pipeline: 1},
		{SQL: "commit", Pipeline: 1}, {SQL: "commit", Commit: true, Pipeline: 1}, {Pipeline: 2}, {SQL: "select 1", Pipeline: 3},
	} {
		if g := got[i]; g.SQL != want.SQL || g.Commit != want.Commit || g.Pipeline != want.Pipeline {
			t.Errorf("message %d: %+v, want %+v", i, g, want)
		}
	}
}
