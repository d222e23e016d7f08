// Package helm_test renders the chart and reads what comes out as strictly as a server of
// Kubernetes does. It is a module of its own: helm's and Kubernetes' libraries are no part of
// the product.
package helm_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"sigs.k8s.io/yaml"
)

const app = `
config:
  apps:
    - id: 0efc74f7-41c3-47a4-8775-7259bfef4241
      hosting: app
      answer: bot
      bot: {url: "http://127.0.0.1:9442/", health_url: "http://127.0.0.1:9442/health"}
`

// worlds are the ways in which people install it.
var worlds = map[string][]string{
	"relay":   {app},
	"nodes":   {app, "public: {mode: nodes, nodeUrl: 'https://{node}.bot.contoso.com', service: {annotations: {a: b}}}\nreplicas: 5\n"},
	"windows": {"values-windows.yaml", app, "bot: {image: 'bot:1', env: [{name: A, value: b}]}\n"},
	"all": {app, `
workloadIdentity: {enabled: true, clientId: c}
serviceMonitor: {enabled: true, tokenSecret: {name: t, key: k}}
peers: [10.1.0.0/16]
appSecrets: apps
cluster: {joinTokenKey: join}
storage: {className: premium}
`},
}

// values reads one world over the chart's own values.
func values(t *testing.T, layers []string) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, l := range layers {
		text := []byte(l)
		if strings.HasSuffix(l, ".yaml") {
			var err error
			if text, err = os.ReadFile(filepath.Join("tandem", l)); err != nil {
				t.Fatal(err)
			}
		}
		one := map[string]any{}
		if err := yaml.UnmarshalStrict(text, &one); err != nil {
			t.Fatal(err)
		}
		all = chartutil.CoalesceTables(one, all)
	}
	return all
}

func render(t *testing.T, layers []string) (map[string]string, error) {
	t.Helper()
	chart, err := loader.Load("tandem")
	if err != nil {
		t.Fatal(err)
	}
	v, err := chartutil.ToRenderValues(chart, values(t, layers), chartutil.ReleaseOptions{Name: "emea", Namespace: "tandem"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Render(chart, v)
}

// objects reads every document strictly: an unknown or doubled field is an error.
func objects(t *testing.T, files map[string]string) (all []runtime.Object) {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for doc := range strings.SplitSeq(text, "\n---\n") {
			if len(bytes.TrimSpace([]byte(doc))) == 0 || strings.Contains(doc, "kind: ServiceMonitor") { // not Kubernetes' own
				continue
			}
			o, _, err := decoder.Decode([]byte(doc), nil, nil)
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, doc)
				continue
			}
			all = append(all, o)
		}
	}
	return all
}

// TestTheChartIsStrictlyRight: what each world renders is read strictly, and the node reads its
// configuration.
func TestTheChartIsStrictlyRight(t *testing.T) {
	tandem := filepath.Join(t.TempDir(), "tandem")
	build := exec.Command("go", "build", "-trimpath", "-o", tandem, "./cmd/tandem")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as everybody builds it here: compiled once
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, layers := range worlds {
		t.Run(name, func(t *testing.T) {
			files, err := render(t, layers)
			if err != nil {
				t.Fatal(err)
			}
			var set *appsv1.StatefulSet
			var config *corev1.ConfigMap
			doors := 0
			for _, o := range objects(t, files) {
				switch o := o.(type) {
				case *appsv1.StatefulSet:
					set = o
				case *corev1.ConfigMap:
					config = o
				case *corev1.Service:
					if strings.HasSuffix(o.Name, "-public") {
						doors++
					}
				}
			}
			if set == nil || config == nil || doors == 0 {
				t.Fatalf("a StatefulSet, a ConfigMap and a public Service are wanted: %v %v %d", set != nil, config != nil, doors)
			}
			if name == "nodes" && doors != 5 {
				t.Errorf("five nodes have %d addresses", doors)
			}
			reads(t, tandem, set, config)
			ports(t, set)
		})
	}
}

// variable finds what Kubernetes puts into the text of another variable.
var variable = regexp.MustCompile(`\$\((\w+)\)`)

// reads has the program judge the rendered configuration with the pod's environment.
func reads(t *testing.T, tandem string, set *appsv1.StatefulSet, config *corev1.ConfigMap) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tandem.yaml")
	if err := os.WriteFile(file, []byte(config.Data["tandem.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(tandem, "config", "validate", "--offline", "--config", file)
	told := map[string]string{}
	for _, e := range set.Spec.Template.Spec.Containers[0].Env {
		v := e.Value
		if e.ValueFrom != nil {
			v = map[string]string{"metadata.name": "emea-0", "metadata.namespace": "tandem"}[e.ValueFrom.FieldRef.FieldPath]
		}
		told[e.Name] = variable.ReplaceAllStringFunc(v, func(m string) string { return told[m[2:len(m)-1]] })
		c.Env = append(c.Env, e.Name+"="+told[e.Name])
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("the node refuses its configuration: %v\n%s\n%s", err, out, config.Data["tandem.yaml"])
	}
}

// ports: a probe and a Service that name a port name one that is there.
func ports(t *testing.T, set *appsv1.StatefulSet) {
	t.Helper()
	c := set.Spec.Template.Spec.Containers[0]
	known := map[string]bool{}
	for _, p := range c.Ports {
		known[p.Name] = true
	}
	for probe, path := range map[*corev1.Probe]string{c.StartupProbe: "/livez", c.LivenessProbe: "/livez", c.ReadinessProbe: "/readyz"} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || !known[probe.HTTPGet.Port.String()] {
			t.Errorf("a probe of %s is %+v", path, probe)
		}
	}
	if grace := *set.Spec.Template.Spec.TerminationGracePeriodSeconds; grace <= 7200 {
		t.Errorf("the pod is killed after %d s, its node drains for 7200", grace)
	}
}

// TestTheChartRefuses: what cannot work is said at once.
func TestTheChartRefuses(t *testing.T) {
	for says, layers := range map[string][]string{
		"config.apps is empty":                 nil,
		"public.nodeUrl needs {node}":          {app, "public: {mode: nodes}\n"},
		"public.mode is relay or nodes":        {app, "public: {mode: both}\n"},
		"os is linux or windows":               {app, "os: plan9\n"},
		"workloadIdentity.clientId is missing": {app, "workloadIdentity: {enabled: true}\n"},
	} {
		if _, err := render(t, layers); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

func TestLint(t *testing.T) {
	for name, layers := range worlds {
		for _, m := range lint.All("tandem", values(t, layers), "tandem", true).Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}
