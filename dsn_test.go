package groupcommit

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inDSN is what a data source name sets.
func inDSN(t *testing.T, dsn string) (rest string, l limits) {
	t.Helper()
	rest, opts, err := splitDSN(dsn)
	require.NoError(t, err, dsn)
	l, err = defaults.with(opts)
	require.NoError(t, err, dsn)
	l.inDSN = nil
	return rest, l
}

func TestOptionsAreTakenOutOfADataSourceName(t *testing.T) {
	maxlen := func(l *limits) { l.maxLen = 5 }
	delay := func(l *limits) { l.maxDelay = 2 * time.Millisecond }
	for name, test := range map[string]struct {
		dsn, rest string
		want      func(*limits)
	}{
		"file, alone":          {"app.db?groupcommit_maxlen=5", "app.db", maxlen},
		"file, first":          {"app.db?groupcommit_maxlen=5&_journal=WAL", "app.db?_journal=WAL", maxlen},
		"file, last":           {"app.db?_journal=WAL&groupcommit_maxlen=5", "app.db?_journal=WAL", maxlen},
		"file, in between":     {"app.db?x&groupcommit_maxlen=5&y", "app.db?x&y", maxlen},
		"file, two":            {"app.db?groupcommit_maxlen=5&x=%20+&groupcommit_maxdelay=2ms", "app.db?x=%20+", func(l *limits) { maxlen(l); delay(l) }},
		"memory":               {":memory:?groupcommit_maxlen=5", ":memory:", maxlen},
		"no file":              {"?groupcommit_maxlen=5", "", maxlen},
		"escaped":              {"app.db?groupcommit_maxlen=%35", "app.db", maxlen},
		"escaped micro":        {"app.db?groupcommit_maxdelay=2000%C2%B5s", "app.db", delay},
		"empty pairs stay":     {"app.db?&x&&groupcommit_maxlen=5&", "app.db?&x&&", maxlen},
		"URL":                  {"postgres://u:p%40@h:5432/db?sslmode=disable&groupcommit_maxlen=5", "postgres://u:p%40@h:5432/db?sslmode=disable", maxlen},
		"URL with fragment":    {"file:app.db?groupcommit_maxlen=5#frag", "file:app.db#frag", maxlen},
		"URL, bytes":           {"h/db?groupcommit_maxbytes=77", "h/db", func(l *limits) { l.maxBytes = 77 }},
		"words, alone":         {"groupcommit_maxlen=5", "", maxlen},
		"words, first":         {"groupcommit_maxlen=5 host=a  dbname=b", "host=a  dbname=b", maxlen},
		"words, last":          {"host=a  dbname=b groupcommit_maxlen=5", "host=a  dbname=b", maxlen},
		"words, in between":    {"host=a groupcommit_maxlen=5\tdbname=b", "host=a dbname=b", maxlen},
		"words, quoted":        {"host=a groupcommit_maxdelay='2ms' x='b c'", "host=a x='b c'", delay},
		"words, not in quotes": {`password='a\' groupcommit_maxlen=9 b' groupcommit_maxlen=5`, `password='a\' groupcommit_maxlen=9 b'`, maxlen},
		"words, queue":         {"host=a groupcommit_maxqueue=77", "host=a", func(l *limits) { l.maxQueue = 77 }},

		"our name in the path, too":     {"/tmp/groupcommit_x/app.db?groupcommit_maxlen=5", "/tmp/groupcommit_x/app.db", maxlen},
		"our name in the file, too":     {"groupcommit_test.db?groupcommit_maxlen=5&x=y", "groupcommit_test.db?x=y", maxlen},
		"our name in the password, too": {"postgres://u:groupcommit_@h/db?groupcommit_maxlen=5", "postgres://u:groupcommit_@h/db", maxlen},
		"a question mark in a word":     {"password=why? groupcommit_maxlen=5", "password=why?", maxlen},
		"a quoted question mark":        {"password='a ?b' groupcommit_maxlen=5 host=h", "password='a ?b' host=h", maxlen},
	} {
		t.Run(name, func(t *testing.T) {
			want := defaults
			test.want(&want)
			rest, got := inDSN(t, test.dsn)
			assert.Equal(t, test.rest, rest)
			assert.Equal(t, want, got)
		})
	}
}

func TestADataSourceNameWithoutOurOptionsIsLeftAlone(t *testing.T) {
	for _, dsn := range []string{
		"",
		"app.db",
		"file:app.db?mode=memory&cache=shared",
		"groupcommit_test.db",
		"/tmp/groupcommit_x/app.db",
		"groupcommit_test.db?_journal=WAL",
		"file:groupcommit_test.db?_journal=WAL&x=groupcommit_",
		"host=h dbname=groupcommit_db  user='a b' ",
		"postgres://u:groupcommit_maxlen=5@h/db?sslmode=disable",
		"host=h application_name='groupcommit_maxlen=5'",
		"app.db?xgroupcommit_maxlen=5",
		"app.db?GROUPCOMMIT_maxlen=5",
	} {
		t.Run(dsn, func(t *testing.T) {
			rest, opts, err := splitDSN(dsn)
			require.NoError(t, err)
			assert.Equal(t, dsn, rest)
			assert.Empty(t, opts)
		})
	}
}

func TestABadOptionInADataSourceNameIsAnErrorAtOpen(t *testing.T) {
	const allowed = "groupcommit_maxlen, groupcommit_maxbytes, groupcommit_maxqueue, groupcommit_maxdelay"
	fake := newFake()
	name := fake.register(t)
	for dsn, want := range map[string][]string{
		"x?groupcommit_maxlen=0":                        {"option groupcommit_maxlen:", `"0"`, "a whole number from 1 to 2147483647"},
		"x?groupcommit_maxlen=":                         {"groupcommit_maxlen", `""`, "a whole number from 1 to 2147483647"},
		"x?groupcommit_maxlen":                          {"groupcommit_maxlen", `""`, "a whole number from 1 to 2147483647"},
		"x?groupcommit_maxlen=1e3":                      {"groupcommit_maxlen", `"1e3"`, "a whole number from 1 to 2147483647"},
		"x?groupcommit_maxlen=99999999999999999999":     {"groupcommit_maxlen", `"99999999999999999999"`, "a whole number from"},
		"x?groupcommit_maxbytes=-1":                     {"option groupcommit_maxbytes:", `"-1"`, "a whole number from"},
		"x?groupcommit_maxqueue=many":                   {"groupcommit_maxqueue", `"many"`, "a whole number from"},
		"x?groupcommit_maxdelay=5":                      {"groupcommit_maxdelay", `"5"`, "such as 2ms"},
		"x?groupcommit_maxdelay=-5ms":                   {"option groupcommit_maxdelay:", `"-5ms"`, "such as 2ms"},
		"x?groupcommit_writers=5000":                    {"option groupcommit_writers:", `"5000"`, "from 1 to 1000"},
		"x?groupcommit_writers=x":                       {"option groupcommit_writers:", `"x"`, "from 1 to 1000"},
		"x?groupcommit_physical=0":                      {"option groupcommit_physical:", `"0"`, "a whole number from 1 to 2147483647"},
		"x?groupcommit_physical=-3":                     {"option groupcommit_physical:", `"-3"`, "a whole number from 1 to 2147483647"},
		"x?groupcommit_physical=many":                   {"option groupcommit_physical:", `"many"`, "a whole number from 1 to 2147483647"},
		"x?groupcommit_physical=99999999999999999999":   {"option groupcommit_physical:", `"99999999999999999999"`, "a whole number from 1 to 2147483647"},
		"x?groupcommit_locktimeout=-1s":                 {"option groupcommit_locktimeout:", `"-1s"`},
		"x?groupcommit_maxtime=0":                       {"option groupcommit_maxtime:", `"0s"`},
		"x?groupcommit_retention=-1s":                   {"option groupcommit_retention:", `"-1s"`},
		"x?groupcommit_mode=x":                          {"option groupcommit_mode:", `"x"`, "automatic, transaction or autocommit"},
		"x?groupcommit_promises=x":                      {"option groupcommit_promises:", `"x"`, "on or off"},
		"x?groupcommit_manyrows=x":                      {"option groupcommit_manyrows:", `"x"`, "on or off"},
		"x?groupcommit_retry=x":                         {"option groupcommit_retry:", `"x"`, "never"},
		"x?groupcommit_maxlen=%zz":                      {"groupcommit_maxlen", `"%zz"`, "URL encoding"},
		"x?groupcommit_maxlen=5&groupcommit_maxlen=5":   {"groupcommit_maxlen", "twice"},
		"host=h groupcommit_maxlen=5 groupcommit_x=y":   {"groupcommit_x", `"y"`, allowed},
		"host=h groupcommit_maxlen=5 groupcommit_x='y'": {"groupcommit_x", `"y"`, allowed},
		"x?groupcommit_MaxLen=5":                        {"groupcommit_MaxLen", `"5"`, allowed},
		"x?groupcommit_=5":                              {"groupcommit_=", `"5"`, allowed},
		"x?y&groupcommit_%6Daxlen=5":                    {"unknown option", allowed},
	} {
		t.Run(dsn, func(t *testing.T) {
			db, err := sql.Open(name, dsn)
			require.Error(t, err)
			require.Nil(t, db)
			assert.True(t, strings.HasPrefix(err.Error(), "groupcommit: "), err.Error())
			for _, part := range want {
				assert.ErrorContains(t, err, part)
			}
			assert.NotContains(t, err.Error(), "%!", "a wrong format")
		})
	}
	assert.Zero(t, fake.count("open"), "the driver was asked")
}

func TestALaterErrorNamesAnOptionAsTheProgramWroteIt(t *testing.T) {
	fake := newFake()
	inDSN := fake.register(t)
	inCode := fake.register(t, Mode(Autocommit))
	promising := fake.register(t, Promises())
	for _, test := range []struct{ driver, dsn, want string }{
		{inDSN, "x?groupcommit_mode=autocommit", "option groupcommit_mode:"},
		{inCode, "x", "option Mode:"},
		{inDSN, "x?groupcommit_promises=on", "option groupcommit_promises:"},
		{promising, "x", "option Promises:"},
		{promising, "x?groupcommit_promises=on", "option groupcommit_promises:"},
	} {
		db, err := sql.Open(test.driver, test.dsn)
		require.NoError(t, err)
		assert.ErrorContains(t, db.Ping(), test.want, test)
		db.Close()
	}
}

func TestADataSourceNameWinsOverCode(t *testing.T) {
	fake := newFake()
	name := fake.register(t, MaxLen(3), MaxQueue(7))
	db, err := sql.Open(name, "app.db?groupcommit_maxlen=5&x=y")
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.Ping())
	d, err := databaseOf(t.Context(), db)
	require.NoError(t, err)
	assert.Equal(t, 5, d.limits.maxLen)
	assert.Equal(t, 7, d.limits.maxQueue)
	assert.Equal(t, "app.db?x=y", fake.dsn())
}

func FuzzSplitDSN(f *testing.F) {
	for _, dsn := range []string{
		"app.db?x&groupcommit_maxlen=5&y#z", "host=a groupcommit_maxdelay='2ms' x='b c'", `a='\`, "groupcommit_", "groupcommit_=",
		"?groupcommit_maxlen=%", "groupcommit_test.db?a=b", "'groupcommit_maxlen=1", "x?groupcommit_maxlen=1 groupcommit_maxlen=2",
	} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		rest, opts, err := splitDSN(dsn)
		if !strings.Contains(dsn, prefix) {
			require.NoError(t, err)
			require.Equal(t, dsn, rest)
			require.Empty(t, opts)
		}
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "groupcommit: "), err.Error())
			return
		}
		if len(opts) == 0 {
			require.Equal(t, dsn, rest, "nothing was taken out")
		}
	})
}
