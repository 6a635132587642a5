package aws

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// The published vectors of AWS for version 4 (aws-sig-v4-test-suite): requests as they are sent, and the signatures that they must get.
// They are made with these keys, in us-east-1, for a service named "service".
func TestSignaturesAreThoseOfThePublishedVectors(t *testing.T) {
	keys := Credentials{AccessKey: "AKIDEXAMPLE", SecretKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	scope := Scope{Region: "us-east-1", Service: "service"}
	now := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	const unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const form = "Param1=value1"
	for name, v := range map[string]struct {
		method, target, body string
		headers              map[string][]string
		signed, signature    string
	}{
		"get-vanilla":                     {target: "/", signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"post-vanilla":                    {method: "POST", target: "/", signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		"get-utf8":                        {target: "/ሴ", signature: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
		"get-space":                       {target: "/example space/", signature: "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
		"get-slashes":                     {target: "//example//", signature: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		"get-slash-pointless-dot":         {target: "/./example", signature: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
		"get-relative-relative":           {target: "/example1/example2/../..", signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-vanilla-empty-query-key":     {target: "/?Param1=value1", signature: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		"get-vanilla-utf8-query":          {target: "/?ሴ=bar", signature: "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		"get-vanilla-query-order-encoded": {target: "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", signature: "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
		"get-vanilla-query-unreserved":    {target: "/?" + unreserved + "=" + unreserved, signature: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
		"get-header-value-trim": {
			target: "/", headers: map[string][]string{"my-header1": {" value1"}, "my-header2": {` "a   b   c"`}},
			signed: "host;my-header1;my-header2;x-amz-date", signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
		},
		"get-header-key-duplicate": {
			target: "/", headers: map[string][]string{"my-header1": {"value2", "value2", "value1"}},
			signed: "host;my-header1;x-amz-date", signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
		},
		"get-header-value-order": {
			target: "/", headers: map[string][]string{"my-header1": {"value4", "value1", "value3", "value2"}},
			signed: "host;my-header1;x-amz-date", signature: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
		},
		"get-vanilla-with-session-token": {
			target: "/", headers: map[string][]string{"x-amz-security-token": {"6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"}},
			signed: "host;x-amz-date;x-amz-security-token", signature: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
		},
		"post-x-www-form-urlencoded": {
			method: "POST", target: "/", body: form,
			headers: map[string][]string{
				"content-type": {"application/x-www-form-urlencoded"}, "content-length": {"13"},
				"x-amz-content-sha256": {"9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"},
			},
			signed:    "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
			signature: "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := message{method: v.method, headers: map[string][]string{"host": {"example.amazonaws.com"}, "x-amz-date": {"20150830T123600Z"}}, bodyHash: HashBody([]byte(v.body))}
			if m.method == "" {
				m.method = "GET"
			}
			m.path, m.query, _ = strings.Cut(v.target, "?")
			for k, values := range v.headers {
				m.headers[k] = values
			}
			if v.signed == "" {
				v.signed = "host;x-amz-date"
			}
			want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + v.signed + ", Signature=" + v.signature
			if got := m.authorization(keys, scope, now); got != want {
				text, _ := m.canonical()
				t.Errorf("got  %s\nwant %s\nof\n%s", got, want, text)
			}
		})
	}
	if got := HashBody(nil); got != emptyHash {
		t.Errorf("no body: %s", got)
	}
}

func TestSignPutsWhatBelongsToTheSignatureIntoTheRequest(t *testing.T) {
	keys := Credentials{AccessKey: "AKIDEXAMPLE", SecretKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", SessionToken: "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.amazonaws.com:443", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "hermod") // a proxy may change it
	r.Header.Set("Accept-Encoding", "gzip")
	zone := time.FixedZone("somewhere", 9*3600)
	Sign(r, emptyHash, keys, Scope{"us-east-1", "service"}, time.Date(2015, 8, 30, 21, 36, 0, 0, zone))
	const want = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, " +
		"SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"
	if got := r.Header.Get("Authorization"); got != want {
		t.Errorf("%s", got)
	}
	if r.Host != "example.amazonaws.com" || r.Header.Get("X-Amz-Date") != "20150830T123600Z" || r.Header.Get("X-Amz-Security-Token") != keys.SessionToken {
		t.Errorf("%s %v", r.Host, r.Header)
	}
	// Once more without a token: the old one doesn't stay.
	keys.SessionToken = ""
	Sign(r, emptyHash, keys, Scope{"us-east-1", "service"}, time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC))
	if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31") {
		t.Errorf("%s", got)
	}
}

func TestAPathThatWasEscapedToBeSentIsEscapedOnceMore(t *testing.T) {
	u, err := url.Parse("https://x/workspaces/a%2Fb%20c/api")
	if err != nil {
		t.Fatal(err)
	}
	if got := canonicalPath(u.EscapedPath()); got != "/workspaces/a%252Fb%2520c/api" {
		t.Errorf("%s", got)
	}
	for path, want := range map[string]string{"": "/", "/a/..": "/", "/a/b/..": "/a/", "/../../a": "/a", "/a/.": "/a/", "/a*b": "/a%2Ab"} {
		if got := canonicalPath(path); got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
	if got := canonicalQuery("b=%zz&a=x+y&&a"); got != "a=&a=x%20y&b=%25zz" {
		t.Errorf("%s", got)
	}
}
