package groupcommit

import (
	"fmt"
	"net/url"
	"strings"
)

// prefix begins the name of each of our options in a data source name.
const prefix = "groupcommit_"

// splitDSN takes our options out of a data source name. The rest is left as it was, byte for byte.
func splitDSN(dsn string) (rest string, opts []Option, err error) {
	if !strings.Contains(dsn, prefix) {
		return dsn, nil, nil
	}
	seen := make(map[string]bool)
	take := func(name, value string) error {
		if seen[name] {
			return fmt.Errorf("groupcommit: option %s is given twice in the data source name", prefix+name)
		}
		seen[name] = true
		o, err := parseOption(name, value)
		opts = append(opts, o)
		return err
	}
	q := strings.IndexByte(dsn, '?')
	if q >= 0 && strings.Contains(strings.ReplaceAll(dsn[q:], "?", "&"), "&"+prefix) {
		rest, err = splitQuery(dsn[:q], dsn[q+1:], take)
	} else if q >= 0 && !strings.ContainsAny(dsn, " \t\r\n") {
		return dsn, nil, nil
	} else {
		rest, err = splitWords(dsn, take)
	}
	return rest, opts, err
}

// splitQuery reads the options of a query, in a URL or after the ? of a file name.
func splitQuery(base, query string, take func(name, value string) error) (string, error) {
	query, fragment, hasFragment := strings.Cut(query, "#")
	var kept []string
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, ours := strings.CutPrefix(name, prefix)
		if !ours {
			kept = append(kept, pair)
			continue
		}
		plain, err := url.QueryUnescape(value)
		if err != nil {
			return "", badOption(prefix+name, value, "a value in URL encoding")
		}
		if err := take(name, plain); err != nil {
			return "", err
		}
	}
	if len(kept) > 0 {
		base += "?" + strings.Join(kept, "&")
	}
	if hasFragment {
		base += "#" + fragment
	}
	return base, nil
}

// splitWords reads the options of a name made of words, but not within quotes: host=localhost dbname='my app'
// groupcommit_maxlen=10
func splitWords(dsn string, take func(name, value string) error) (string, error) {
	var rest strings.Builder
	taken := false
	for i := 0; i < len(dsn); {
		end := wordEnd(dsn, i)
		word := dsn[i:end]
		for end < len(dsn) && isSpace(dsn[end]) {
			end++
		}
		name, value, assigned := strings.Cut(word, "=")
		if name, ours := strings.CutPrefix(name, prefix); ours && assigned {
			taken = true
			if err := take(name, strings.Trim(value, "'")); err != nil {
				return "", err
			}
		} else if ours && end < len(dsn) && dsn[end] == '=' {
			return "", fmt.Errorf("groupcommit: option %s: there must be no space before =", word)
		} else {
			rest.WriteString(dsn[i:end])
		}
		i = end
	}
	if !taken { // the name may be a file's
		return dsn, nil
	}
	return strings.TrimRight(rest.String(), " "), nil
}

func wordEnd(s string, i int) int {
	quoted := false
	for ; i < len(s) && (quoted || !isSpace(s[i])); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '\'':
			quoted = !quoted
		}
	}
	return min(i, len(s))
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
