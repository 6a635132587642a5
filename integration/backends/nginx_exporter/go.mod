module github.com/hermod-agent/hermod/integration/backends/nginx_exporter

go 1.26

require github.com/nginx/nginx-prometheus-exporter v1.5.1
