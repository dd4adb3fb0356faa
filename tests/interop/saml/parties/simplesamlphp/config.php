<?php
// SimpleSAMLphp as an identity provider that asks for a password. The environment says where and for whom.
$folder = getenv('FOLDER');
$config = [
    'baseurlpath' => getenv('SITE') . '/',
    'certdir' => "$folder/",
    'loggingdir' => "$folder/",
    'datadir' => "$folder/",
    'tempdir' => "$folder/tmp",
    'metadatadir' => "$folder/metadata/",
    'logging.handler' => 'errorlog',
    'logging.level' => SimpleSAML\Logger::INFO,
    'secretsalt' => getenv('SALT'),
    'auth.adminpassword' => getenv('SALT'),
    'admin.checkforupdates' => false,
    'technicalcontact_email' => 'na@example.org',
    'timezone' => 'UTC',
    'enable.saml20-idp' => true,
    'module.enable' => ['core' => true, 'saml' => true, 'exampleauth' => true],
    'session.cookie.secure' => false,
    'session.cookie.samesite' => 'Lax',
    'session.phpsession.savepath' => "$folder/tmp",
    'language.cookie.secure' => false,
    'language.cookie.samesite' => 'Lax',
    'store.type' => 'phpsession',
    'metadata.sources' => [['type' => 'flatfile']],
];
