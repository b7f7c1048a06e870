#!/bin/sh
# nginx with nchan (Debian: nginx-light, libnginx-mod-nchan), one worker: what is posted to /publish, or sent there
# over WebSocket, goes to all of /subscribe. Usage: nchan.sh PORT
set -eu
port=$1
folder=$(mktemp -d)
cat > "$folder/nginx.conf" <<CONFIG
load_module modules/ngx_nchan_module.so;
worker_processes 1;
daemon off;
pid $folder/nginx.pid;
error_log stderr error;
events {
    worker_connections 20000;
}
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    nchan_shared_memory_size 512M;
    server {
        listen 127.0.0.1:$port backlog=4096;
        keepalive_requests 1000000000;
        location = /subscribe {
            nchan_subscriber websocket;
            nchan_channel_id all;
            nchan_subscriber_first_message newest;
        }
        location = /publish {
            nchan_publisher http websocket;
            nchan_channel_id all;
            # Long enough for a subscriber that is behind, short enough for the memory.
            nchan_message_timeout 10s;
            nchan_message_buffer_length 10000;
        }
    }
}
CONFIG
nginx -c "$folder/nginx.conf" &
nginx=$!
trap 'kill "$nginx"' TERM INT
# A trapped signal ends the first wait; the second is for nginx.
wait "$nginx" || true
wait "$nginx" || true
rm -rf "$folder"
